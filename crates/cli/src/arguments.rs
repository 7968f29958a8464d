//! What follows the first GUEST: other guests, or its arguments.
//!
//! After a `--`, everything is an argument. Before it, what names a file is a guest, and if
//! nothing does, everything is an argument.

use crate::args::RunArgs;
use crate::guest::{self, GuestSpec};
use crate::names;
use std::fs;
use std::path::Path;
use wasmtime::{Result, bail};

/// Leaves only guests in `args.guests`, and their arguments, if any, in `args.args`.
///
/// # Errors
///
/// If it is not clear what is what.
pub fn split_off(args: &mut RunArgs) -> Result<()> {
    let exists = |path: &str| Path::new(path).exists();
    let [first, rest @ ..] = &args.guests[..] else {
        return Ok(());
    };
    // What is wrong with it is reported when it is loaded.
    let has_args = GuestSpec::parse(first, exists).map_or(true, |spec| spec.args.is_some());
    if args.args.is_empty() && !has_args {
        let guests = rest.iter().filter(|text| is_guest(text)).count();
        if guests == 0 {
            args.args = args.guests.split_off(1);
        } else if guests < rest.len() {
            return Err(unclear(first, rest));
        }
        return Ok(());
    }
    let shown = || names::name(&args.args.join(" "));
    match (&args.args[..], rest) {
        ([], _) => Ok(()),
        ([..], [_, ..]) => bail!(
            "-- {}: it is not clear which guest these arguments are for; write those of each \
             guest as FILE(ARG,...)",
            shown()
        ),
        ([..], []) if has_args => bail!(
            "-- {}: guest `{}` has arguments in parentheses already; give them in one place",
            shown(),
            names::name(first)
        ),
        ([..], []) => Ok(()),
    }
}

/// Adds to the error with which a guest after `first` did not load.
pub fn was_a_guest(first: &str, text: &str, error: wasmtime::Error) -> wasmtime::Error {
    if guest::is_module(guest::file(text, |path| Path::new(path).exists())) {
        return error;
    }
    let (first, text) = (names::name(first), names::name(text));
    error.context(format!(
        "`{text}` is a guest, because there is such a file; to pass it to `{first}`, write \
         `{first} -- {text}`"
    ))
}

/// Whether `text` names a file, or what would be one for a guest.
fn is_guest(text: &str) -> bool {
    let file = guest::file(text, |path| Path::new(path).exists());
    guest::is_module(file) || fs::metadata(file).is_ok_and(|metadata| !metadata.is_dir())
}

fn unclear(first: &str, rest: &[String]) -> wasmtime::Error {
    let of = |guest: bool| rest.iter().find(|text| is_guest(text) == guest);
    let [guest, other] = [true, false].map(|guest| names::name(of(guest).map_or("", |s| s)));
    let (first, all) = (names::name(first), names::name(&rest.join(" ")));
    wasmtime::format_err!(
        "`{guest}` is a guest, and there is no file `{other}`; if these are arguments of \
         `{first}`, write `{first} -- {all}`; those of one guest among others are written \
         as FILE(ARG,...)"
    )
}
