//! The one error that reaches a person: what failed, on what, and what to do about it.
//!
//! Modules below the commands have error types of their own where a caller branches on them
//! (the store does); everything ends as an [`Error`], whose kind decides the exit code.

use std::fmt;
use std::io;
use std::path::Path;

/// The result of everything that may end in an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure it was; decides the process exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something did not work: exit code 1.
    Failed,
    /// What the user gave cannot be used: exit code 2.
    BadInput,
    /// Nothing was found where the user demanded something: exit code 3.
    NotFound,
    /// Stored bytes are not what was saved: exit code 4.
    Integrity,
    /// The exit code comes from elsewhere: the user's training command, or a signal.
    Exit(u8),
}

/// The exit codes and what they mean, for the help and the reference.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "done"),
    (1, "failed"),
    (2, "bad input; the message names every input that cannot be used, and the accepted forms"),
    (3, "not found, and `fail-on-miss` is `true`"),
    (4, "stored bytes are missing or damaged; nothing was restored"),
];

/// A failure with its cause and hints.
///
/// Displays as the message alone; [`Error::render`] adds causes and hints.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hints: Vec<String>,
    source: Option<anyhow::Error>,
}

impl Error {
    /// Returns an error of the given kind; the message is lower case, without a full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new(), source: None }
    }

    /// Returns a plain failure (exit code 1).
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// Returns a complaint about what the user gave (exit code 2).
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::new(Kind::BadInput, message)
    }

    /// Returns "nothing there" (exit code 3).
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// Returns "not the bytes that were saved" (exit code 4).
    pub fn integrity(message: impl Into<String>) -> Self {
        Self::new(Kind::Integrity, message)
    }

    /// Returns a failed file operation; `action` reads like "cannot open".
    pub fn io(action: &str, path: &Path, source: &io::Error) -> Self {
        Self::failed(format!("{action} `{}`: {}", path.display(), describe_io(source)))
    }

    /// Adds a line that says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the cause; it is shown below the message.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns what sort of failure it was.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the process exit code (design: 1 failed, 2 bad input, 3 not found, 4 integrity).
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::BadInput => 2,
            Kind::NotFound => 3,
            Kind::Integrity => 4,
            Kind::Exit(code) => code,
        }
    }

    /// Returns message and causes, one a line, without the hints.
    pub fn explanation(&self) -> String {
        let mut text = self.message.clone();
        if let Some(source) = &self.source {
            for cause in source.chain() {
                text.push_str("\n  caused by: ");
                text.push_str(&cause.to_string());
            }
        }
        text
    }

    /// Returns the hints, in the order they were added.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Returns message, causes and hints as a person reads them.
    pub fn render(&self) -> String {
        let mut text = self.explanation();
        for hint in &self.hints {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}

/// Adds the path to an I/O error; an `io::Error` alone never says which file it was.
pub trait IoContext<T> {
    /// Turns an I/O error into "`action` `path`: reason".
    ///
    /// # Errors
    /// The same failure, named.
    fn on(self, action: &str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn on(self, action: &str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::io(action, path, &source))
    }
}

/// Returns the operating system's reason without its error number.
pub fn describe_io(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendered_error_has_message_causes_and_hints_in_order() {
        let error = Error::failed("cannot save `models/`")
            .caused_by(io::Error::from_raw_os_error(28))
            .hint("free some space");
        assert_eq!(
            error.render(),
            "cannot save `models/`\n  caused by: No space left on device (os error 28)\nhint: free \
             some space"
        );
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn an_io_error_names_its_path() {
        let error = Error::io("cannot open", Path::new("a b"), &io::Error::from_raw_os_error(13));
        assert_eq!(error.to_string(), "cannot open `a b`: Permission denied");
    }
}
