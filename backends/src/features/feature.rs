//! A feature, and whether it is available.

/// Something that a kernel may offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name, as in manual pages.
    pub name: &'static str,
    /// The kernel release that brought it.
    pub since: &'static str,
    /// Whether it is available here, to this process, now.
    pub state: State,
}

/// Whether a feature is available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It was used, and worked.
    Yes,
    /// It was tried, and does not work.
    No {
        /// The reason.
        why: String,
        /// What can be done.
        remedy: String,
    },
    /// It could not be tried.
    Unknown {
        /// The reason.
        why: String,
    },
}
