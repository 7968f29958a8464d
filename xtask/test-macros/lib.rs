//! `#[wasmtime_test]`: makes a test of a function that takes a `Config`. Upstream's makes one
//! for each compiler, this one for Cranelift only.
//!
//! `flags_test!` and `#[add_variants]` make types with many names.

use proc_macro::{TokenStream, TokenTree};

/// `flags_test!(Name, 9)`: flags `F0` to `F8`.
#[proc_macro]
pub fn flags_test(args: TokenStream) -> TokenStream {
    let args = args.to_string();
    let (name, count) = args.split_once(',').expect("a name and a number");
    let flags: String = (0..number(count))
        .map(|i| format!("#[component(name = \"F{i}\")] const F{i};"))
        .collect();
    let flags = format!("wasmtime::component::flags! {{ {name} {{ {flags} }} }}");
    flags.parse().unwrap()
}

/// `#[add_variants(9)]`: an enum with `V0` to `V8`, instead of one without any.
#[proc_macro_attribute]
pub fn add_variants(count: TokenStream, item: TokenStream) -> TokenStream {
    let variants: String = (0..number(&count.to_string()))
        .map(|i| format!("#[component(name = \"V{i}\")] V{i},"))
        .collect();
    let item = item.to_string();
    let item = item.trim_end().strip_suffix('}').expect("an enum");
    format!("{item} {variants} }}").parse().unwrap()
}

fn number(text: &str) -> u32 {
    text.trim().parse().expect("a number")
}

/// Understands `strategies(only(..))`, `strategies(not(..))`, `wasm_features(..)` and
/// `with = ".."`.
#[proc_macro_attribute]
pub fn wasmtime_test(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut features = Vec::new();
    let mut attribute = "#[test]".to_string();
    let mut runs = true;
    let mut name = String::new();
    for token in args {
        match token {
            TokenTree::Ident(ident) => name = ident.to_string(),
            TokenTree::Group(group) if name == "wasm_features" => {
                let idents = group.stream().into_iter();
                features.extend(idents.filter_map(|token| match token {
                    TokenTree::Ident(ident) => Some(ident.to_string()),
                    _ => None,
                }));
            }
            TokenTree::Group(group) if name == "strategies" => {
                let names = group.stream().to_string();
                let cranelift = names.contains("CraneliftNative");
                runs = names.starts_with("only") == cranelift;
            }
            TokenTree::Literal(text) if name == "with" => {
                attribute = text.to_string().trim_matches('"').to_string();
            }
            _ => {}
        }
    }

    let words: Vec<String> = item.clone().into_iter().map(|t| t.to_string()).collect();
    let at = words
        .iter()
        .position(|word| word == "fn")
        .expect("a function");
    let (keyword, wait) = match at > 0 && words[at - 1] == "async" {
        true => ("async", ".await"),
        false => ("", ""),
    };
    if keyword == "async" && attribute == "#[test]" {
        attribute = "#[tokio::test]".to_string();
    }
    let function = &words[at + 1];
    // These are on by default, and have no method of their own.
    let enable: String = features
        .iter()
        .filter(|feature| *feature != "gc_types")
        .map(|feature| format!("config.wasm_{feature}(true);"))
        .collect();
    let test = format!(
        "{attribute} {keyword} fn {function}_with_cranelift() -> wasmtime::Result<()> {{
            let mut config = wasmtime::Config::new();
            config.strategy(wasmtime::Strategy::Cranelift);
            {enable}
            {function}(&mut config){wait}
        }}"
    );
    let mut made = TokenStream::new();
    if runs {
        made.extend(item);
        made.extend(test.parse::<TokenStream>().unwrap());
    }
    made
}
