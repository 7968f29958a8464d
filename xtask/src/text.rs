//! How hashes and lists are written.

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first of these lines, and the number of the rest.
pub fn shorten(lines: &[String]) -> Vec<String> {
    let mut shown: Vec<String> = lines.iter().take(12).cloned().collect();
    if lines.len() > shown.len() {
        shown.push(format!("and {} more", lines.len() - shown.len()));
    }
    shown
}
