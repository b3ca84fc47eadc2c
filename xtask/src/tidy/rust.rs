//! A Rust file as tokens: its functions and its uses of `unsafe`, inside macros too.
//!
//! Tokens, not text: a brace in a string or a keyword in a comment counts for nothing.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// Line of `fn`.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub lines: usize,
}

/// A use of the keyword `unsafe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsafe {
    pub line: usize,
    /// Whether it is a block or an impl, which need a reason; the other uses state a duty of the caller.
    pub needs_reason: bool,
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Items {
    pub functions: Vec<Function>,
    pub unsafes: Vec<Unsafe>,
}

/// Reads the tokens of a file; the error is the line where they end to make sense.
pub fn items(text: &str) -> Result<Items, usize> {
    // A shebang is no token; an inner attribute that looks like one is.
    let text = if text.starts_with("#!/") { text.replacen("#!", "//", 1) } else { text.to_owned() };
    let tokens: TokenStream =
        text.parse().map_err(|error: proc_macro2::LexError| error.span().start().line)?;
    let mut items = Items::default();
    walk(tokens, &mut items);
    Ok(items)
}

fn walk(tokens: TokenStream, items: &mut Items) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => walk(group.stream(), items),
            TokenTree::Ident(word) if *word == "fn" => {
                let Some(TokenTree::Ident(name)) = tokens.get(at + 1) else { continue };
                items.functions.extend(body_end(&tokens[at + 2..]).map(|end| {
                    let line = line(word.span());
                    Function { name: name.to_string(), line, lines: end + 1 - line }
                }));
            }
            TokenTree::Ident(word) if *word == "unsafe" => {
                let needs_reason = match tokens.get(at + 1) {
                    Some(TokenTree::Group(group)) => group.delimiter() == Delimiter::Brace,
                    Some(TokenTree::Ident(next)) => *next == "impl",
                    _ => false,
                };
                items.unsafes.push(Unsafe { line: line(word.span()), needs_reason });
            }
            _ => {}
        }
    }
}

/// The last line of the body that follows a function's name; none for a declaration.
fn body_end(rest: &[TokenTree]) -> Option<usize> {
    for token in rest {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ';' => return None,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                return Some(line(group.span_close()));
            }
            _ => {}
        }
    }
    None
}

fn line(span: Span) -> usize {
    span.start().line
}
