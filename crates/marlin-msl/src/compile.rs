//! From the text of a kernel to machine code, once for each text: found compilers, flags, and the cache
//! on disk.

use std::{
    collections::hash_map::DefaultHasher,
    env, fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{Error, Kernel, lines, signature::Signature, text};

/// Before it, elementwise `fma` of vectors is missing.
const OLDEST: u32 = 17;
const CANDIDATES: &[&str] = &["clang-19", "clang-20", "clang-21", "clang-18", "clang-17", "clang"];

/// Where the headers are that stand for Metal's.
const INCLUDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include");

/// What every build shares: literals are single (2.1), halves round after each operation, no call to a
/// collective is moved to where fewer threads come by or loses its place to a jump, loops may run for
/// ever, and no header of the machine is seen.
const FLAGS: &[&str] = &[
    "-x",
    "c++",
    "-std=c++20",
    "-O1",
    "-gline-tables-only",
    "-Xclang",
    "-cl-single-precision-constant",
    "-Xclang",
    "-ffloat16-excess-precision=none",
    "-ffp-contract=off",
    "-fconvergent-functions",
    "-fno-optimize-sibling-calls",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-fno-finite-loops",
    "-fstack-clash-protection",
    "-fstrict-flex-arrays=3",
    "-fvisibility=hidden",
    "-fPIC",
    "-nostdinc",
    "-w",
    "-shared",
    "-nostdlib",
];

#[cfg(target_arch = "x86_64")]
const MACHINE: &str = "-march=x86-64-v3";
#[cfg(target_arch = "aarch64")]
const MACHINE: &str = "-march=armv8.2-a+fp16";

/// Which mistakes the machine code is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Build {
    /// Traps at undefined behaviour, each by its name.
    Checked,
    /// With `-ffast-math`, as Metal compiles by default: shows reliance on infinity, NaN and exact rounding.
    Fast,
    /// With a record of who touched what: shows accesses that nothing orders, and reads of what nobody wrote,
    /// whatever came of them. Slow, and one seed is enough.
    Races,
    /// Traps at the operation that makes an infinity or a NaN of numbers, where the machine can (x86-64).
    Finite,
}

impl Build {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Checked => &[
                "-DMARLIN_CHECKED",
                "-fsanitize=alignment,array-bounds,bool,null,return,shift,unreachable",
                "-fsanitize=float-cast-overflow,integer-divide-by-zero,signed-integer-overflow",
                "-fsanitize-trap=all",
            ],
            Self::Fast => &["-ffast-math"],
            Self::Finite => &["-ffp-exception-behavior=maytrap"],
            Self::Races => &[
                "-DMARLIN_RACES",
                "-fsanitize=thread",
                "-mllvm",
                "-tsan-instrument-func-entry-exit=0",
                "-mllvm",
                "-tsan-instrument-atomics=0",
            ],
        }
    }
}

/// A clang, and the directory that keeps what it made.
#[derive(Clone, Debug)]
pub struct Compiler {
    program: PathBuf,
    version: String,
    cache: PathBuf,
    headers: u64,
}

impl Compiler {
    /// Looks for clang: `MARLIN_CLANG` if it is set, else the usual names.
    pub fn find(cache: impl Into<PathBuf>) -> Result<Self, Error> {
        let named = env::var_os("MARLIN_CLANG").map(PathBuf::from);
        match named {
            Some(named) => Self::among(&[named], cache.into()),
            None => Self::among(&CANDIDATES.iter().map(PathBuf::from).collect::<Vec<_>>(), cache.into()),
        }
    }

    fn among(candidates: &[PathBuf], cache: PathBuf) -> Result<Self, Error> {
        let mut looked_for = Vec::new();
        for program in candidates {
            match version_of(program) {
                Some((number, version)) if number >= OLDEST => {
                    fs::create_dir_all(&cache).map_err(|source| Error::Io { path: cache.clone(), source })?;
                    return Ok(Self {
                        program: program.clone(),
                        version,
                        cache,
                        headers: hash_of_headers()?,
                    });
                }
                Some((number, _)) => looked_for.push(format!("{} ({number})", program.display())),
                None => looked_for.push(format!("{} (absent)", program.display())),
            }
        }
        Err(Error::NoCompiler { oldest: OLDEST, looked_for: looked_for.join(", ") })
    }

    /// Makes a kernel of a text, or takes it from the cache.
    pub fn compile(&self, name: &str, source: &str, build: Build) -> Result<Kernel, Error> {
        if let Some(line) = text::component_of_comparison(source) {
            let message = format!("line {line}: a component of a comparison, expected one of a named vector");
            return Err(Error::Compile { kernel: name.into(), message });
        }
        let signature = Signature::parse(name, source)?;
        let source = format!(
            "#line 1 \"{}\"\n{}#line 1 \"trampoline\"\n{}",
            lines::TEXT,
            text::with_open_arrays(source),
            signature.trampoline()
        );
        let mut hasher = DefaultHasher::new();
        (&source, build, &self.version, self.headers, FLAGS, build.flags(), MACHINE).hash(&mut hasher);
        let object = self.cache.join(format!("{:016x}.so", hasher.finish()));
        if !object.exists() {
            self.build(name, &source, build, &object)?;
        }
        Kernel::load(name, signature, build, &object)
    }

    /// Compiles beside the object's place and moves it there, so that nobody ever loads half a file.
    fn build(&self, name: &str, source: &str, build: Build, object: &Path) -> Result<(), Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let text = self.cache.join(format!("{unique}.cc"));
        let made = self.cache.join(format!("{unique}.so"));
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        fs::write(&text, source).map_err(io(&text))?;
        let output = Command::new(&self.program)
            .args(FLAGS)
            .arg(MACHINE)
            .args(build.flags())
            .arg("-I")
            .arg(INCLUDE)
            .arg(&text)
            .arg("-o")
            .arg(&made)
            .arg("-lm")
            .output()
            .map_err(io(&self.program));
        let removed = fs::remove_file(&text).map_err(io(&text));
        let output = output?;
        removed?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            let message = message.lines().take(12).collect::<Vec<_>>().join("\n");
            return Err(Error::Compile { kernel: name.into(), message });
        }
        fs::rename(&made, object).map_err(io(object))
    }
}

/// The major version of a clang, and all it says of itself.
fn version_of(program: &Path) -> Option<(u32, String)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = said.split("clang version ").nth(1)?.split('.').next()?.parse().ok()?;
    Some((number, said))
}

fn hash_of_headers() -> Result<u64, Error> {
    let mut hasher = DefaultHasher::new();
    let mut directories = vec![PathBuf::from(INCLUDE)];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        let io = |source| Error::Io { path: directory.clone(), source };
        for entry in fs::read_dir(&directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    for path in files {
        fs::read(&path).map_err(|source| Error::Io { path, source })?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_looked_for() {
        let names = ["no-such-clang", "neither-this"].map(PathBuf::from);
        let said = Compiler::among(&names, PathBuf::new()).unwrap_err().to_string();
        assert!(said.contains("looked for no-such-clang (absent), neither-this (absent)"), "{said}");
    }

    #[test]
    fn a_text_is_compiled_once_and_no_half_file_stays() {
        let cache = tempfile::tempdir().unwrap();
        let compiler = Compiler::find(cache.path()).unwrap();
        let text = "#include <metal_stdlib>\nkernel void main_(\n) {\n}\n";
        let files = || fs::read_dir(cache.path()).unwrap().count();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| compiler.compile("empty", text, Build::Fast).unwrap());
            }
        });
        assert_eq!(files(), 1);
        compiler.compile("empty", text, Build::Checked).unwrap();
        compiler.compile("empty", text, Build::Checked).unwrap();
        assert_eq!(files(), 2);
        compiler.compile("broken", &text.replace("{", "{ x"), Build::Checked).err().unwrap();
        assert_eq!(files(), 2);
    }
}
