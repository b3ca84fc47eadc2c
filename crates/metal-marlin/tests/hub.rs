//! Downloads, against a local server that speaks the hub's protocol and breaks off once.

mod common;

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
};

const FILES: [&str; 4] = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

/// Bytes of the weights after which the first download breaks off.
const BREAK_AFTER: usize = 5_000_000;

/// What was asked: path and first byte of the range.
type Log = Arc<Mutex<Vec<(String, usize)>>>;

/// Serves the miniature as `someone/mini` until the process ends; returns its address.
fn serve(log: Log) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let log = log.clone();
            // A client that goes away early is no failure of the server.
            std::thread::spawn(move || drop(answer(stream.unwrap(), &log)));
        }
    });
    address
}

fn answer(mut stream: TcpStream, log: &Log) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap()?;
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let mut range = None;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("range: bytes=") {
            let (first, last) = value.split_once('-').unwrap();
            range = Some((first.parse::<usize>().unwrap(), last.parse::<usize>().ok()));
        }
    }
    if path.starts_with("/api/models/someone/mini/") {
        let siblings: Vec<_> = FILES.iter().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let body = serde_json::json!({ "sha": "c0ffee", "siblings": siblings }).to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        return stream.write_all((head + &body).as_bytes());
    }
    let Some(name) = path.strip_prefix("/someone/mini/resolve/main/").filter(|name| FILES.contains(name))
    else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let bytes = std::fs::read(common::miniature().join(name))?;
    let (first, last) = range.unwrap_or((0, None));
    let body = &bytes[first..last.map_or(bytes.len(), |last| last + 1)];
    let seen = {
        let mut log = log.lock().unwrap();
        let is_probe = last.is_some();
        let seen = log.iter().filter(|(path, _)| path == name).count();
        if !is_probe {
            log.push((name.to_owned(), first));
        }
        if is_probe { usize::MAX } else { seen }
    };
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {first}-{}/{}\r\n\
         ETag: \"{name}-1\"\r\nX-Repo-Commit: c0ffee\r\nConnection: close\r\n\r\n",
        body.len(),
        first + body.len() - 1,
        bytes.len(),
    );
    stream.write_all(head.as_bytes())?;
    let breaks = name == "model.safetensors" && seen == 0;
    stream.write_all(if breaks { &body[..BREAK_AFTER] } else { body })
}

fn inspect(endpoint: &str, home: &Path, model: &str) -> std::process::Output {
    let mut command = common::command();
    command.args(["inspect", model, "--json"]).env("HF_ENDPOINT", endpoint).env("HF_HOME", home);
    command.output().unwrap()
}

#[test]
fn a_download_resumes_where_it_broke_off_and_is_kept() {
    let (home, log) = (tempfile::tempdir().unwrap(), Log::default());
    let endpoint = serve(log.clone());
    let output = inspect(&endpoint, home.path(), "someone/mini");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = common::succeed(&["inspect", common::miniature().to_str().unwrap(), "--json"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);

    let weights: Vec<usize> = {
        let log = log.lock().unwrap();
        log.iter().filter(|(name, _)| name == "model.safetensors").map(|(_, first)| *first).collect()
    };
    assert_eq!(weights, [0, BREAK_AFTER]);

    let downloads = log.lock().unwrap().len();
    assert!(inspect(&endpoint, home.path(), "someone/mini").status.success());
    assert_eq!(log.lock().unwrap().len(), downloads, "something was downloaded again");
    let nowhere = "http://127.0.0.1:9";
    assert!(inspect(nowhere, home.path(), "someone/mini").status.success(), "a kept model needs no network");
}

#[test]
fn what_the_hub_lacks_is_told() {
    let home = tempfile::tempdir().unwrap();
    let endpoint = serve(Log::default());
    let output = inspect(&endpoint, home.path(), "someone/else");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("model someone/else") && text.contains("404"), "{text}");
    let output = inspect(&endpoint, home.path(), "someone/mini:other.gguf");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("file other.gguf: not in the repository"), "{text}");
}
