//! Whom settings of WASI are for.

/// A guest, as far as settings are for it.
#[derive(Clone, Copy)]
pub struct Taker<'a> {
    /// `None` if it does not import WASI.
    pub argv: Option<&'a [String]>,
    pub is_component: bool,
}
