//! A feature, and whether it is to be had.

/// Something that a kernel may offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name, as in manual pages.
    pub name: &'static str,
    /// The kernel release that brought it.
    pub since: &'static str,
    /// Whether it is to be had here, by this process, now.
    pub state: State,
}

/// Whether a feature is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It was used, and worked.
    Yes,
    /// It was tried, and refused.
    No {
        /// By what.
        why: String,
        /// What can be done.
        remedy: String,
    },
    /// It could not be tried.
    Unknown {
        /// For what reason.
        why: String,
    },
}
