//! Listings that are in the repository.

use std::env;
use std::fs;
use std::path::Path;

/// Compares with the file `golden/NAME.txt`, which `BLESS=1` in the environment writes anew.
pub fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if env::var_os("BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{}: BLESS=1 accepts it", path.display());
}
