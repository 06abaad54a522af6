//! The only error that a person sees: the failure, its object and the remedy.
//!
//! Modules below the commands have error types of their own if their callers branch on them, such
//! as the store. Every error ends as an [`Error`], and its kind decides the exit code.

use std::fmt;
use std::io;
use std::path::Path;

/// A result whose error is an [`Error`] by default.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The sort of a failure, which decides the exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The work failed: exit code 1.
    Failed,
    /// An input cannot be used: exit code 2.
    BadInput,
    /// The command found nothing, but the user demands a result: exit code 3.
    NotFound,
    /// Stored bytes are missing or damaged: exit code 4.
    Integrity,
    /// The training command or a signal decides the exit code.
    Exit(u8),
}

/// The exit codes and their meanings, for the help and docs/reference.md.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "done"),
    (1, "failed"),
    (2, "bad input; the message names every input that cannot be used, and the accepted forms"),
    (3, "not found, and `fail-on-miss` is `true`"),
    (
        4,
        "stored bytes are missing or damaged, or a stored model has other files than `model-path` \
         selects; nothing was restored",
    ),
];

/// A failure with its cause and its hints.
///
/// `Display` shows only the message; [`Error::render`] adds causes and hints.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hints: Vec<String>,
    source: Option<anyhow::Error>,
    /// A slice, because results with this error are returned everywhere.
    others: Box<[Self]>,
}

impl Error {
    /// Returns an error of the given kind. The message begins in lower case and has no full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hints: Vec::new(),
            source: None,
            others: Box::default(),
        }
    }

    /// Returns the error of work that failed (exit code 1).
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// Returns an error about the user's input (exit code 2).
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::new(Kind::BadInput, message)
    }

    /// Returns the error of a search without a result (exit code 3).
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// Returns an error about missing or damaged bytes in the store (exit code 4).
    pub fn integrity(message: impl Into<String>) -> Self {
        Self::new(Kind::Integrity, message)
    }

    /// Returns the error of a failed file operation. `action` is a phrase such as "cannot open".
    pub fn io(action: &str, path: &Path, source: &io::Error) -> Self {
        Self::failed(format!("{action} `{}`: {}", path.display(), describe_io(source)))
    }

    /// Adds a hint: an imperative that names the remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the cause, which follows the message.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds errors that do not depend on this one, so that the user can mend them all at once. The
    /// first error decides the exit code.
    #[must_use]
    pub fn beside(mut self, others: impl IntoIterator<Item = Self>) -> Self {
        let mut all = std::mem::take(&mut self.others).into_vec();
        for mut other in others {
            let more = std::mem::take(&mut other.others);
            all.push(other);
            all.extend(more);
        }
        self.others = all.into();
        self
    }

    /// Joins errors that do not depend on each other; `None` if there is no error.
    pub fn join(errors: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let first = errors.next()?;
        Some(first.beside(errors))
    }

    /// Returns the error itself, and then those that were joined with it.
    pub fn each(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.others.iter())
    }

    /// Returns the sort of the failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the exit code of the process. [`EXIT_CODES`] has the meanings.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::BadInput => 2,
            Kind::NotFound => 3,
            Kind::Integrity => 4,
            Kind::Exit(code) => code,
        }
    }

    /// Returns message and causes, each on its own line, without the hints.
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

    /// Returns the hints, the first hint first.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Returns message, causes and hints, each on its own line.
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

/// Adds the path to an I/O error, because an `io::Error` alone does not name its file.
pub trait IoContext<T> {
    /// Turns an I/O error into "`action` `path`: reason".
    ///
    /// # Errors
    /// The same failure, with action and path.
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
    fn joined_errors_are_flat_and_the_first_decides() {
        let inner = Error::join([Error::not_found("b"), Error::failed("c")]).unwrap();
        let all = Error::bad_input("a").beside([inner, Error::failed("d")]);
        let texts: Vec<String> = all.each().map(ToString::to_string).collect();
        assert_eq!((texts.join(" "), all.exit_code()), ("a b c d".to_owned(), 2));
        assert!(Error::join([]).is_none());
    }

    #[test]
    fn an_io_error_names_its_path() {
        let error = Error::io("cannot open", Path::new("a b"), &io::Error::from_raw_os_error(13));
        assert_eq!(error.to_string(), "cannot open `a b`: Permission denied");
    }
}
