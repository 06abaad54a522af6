//! Messages to people. They go to standard error, through the sanitizer.

pub mod log;
pub mod outputs;
pub mod summary;

use std::io::{IsTerminal as _, Write as _};

use console::Style;

use crate::error::Error;
use crate::github::command::Command;
use crate::progress::Progress;
use crate::sanitize;

/// The form of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether GitHub's runner reads the messages. Warnings and errors then become annotations.
    pub in_actions: bool,
    /// Whether to show details outside of GitHub Actions. Inside, the runner decides about details.
    pub verbose: bool,
}

impl Report {
    /// Prints a message.
    pub fn info(&self, message: &str) {
        put(&sanitize::lines(message));
    }

    /// Prints a message that helps only to find a fault.
    pub fn detail(&self, message: &str) {
        if self.in_actions {
            put(&Command { name: "debug", message: &sanitize::lines(message) }.to_string());
        } else if self.verbose {
            put(&paint(Style::new().dim(), &sanitize::lines(message)));
        }
    }

    /// Prints a warning. The work goes on.
    pub fn warn(&self, message: &str) {
        self.annotate("warning", Style::new().yellow(), &sanitize::lines(message));
    }

    /// Prints the consequence of an error that does not end the work.
    pub fn warn_of(&self, consequence: &str, error: &Error) {
        let message = sanitize::lines(&format!("{consequence}: {}", error.explanation()));
        self.annotate("warning", Style::new().yellow(), &(message + &self.hints(error)));
    }

    /// Prints the error that ended the work, and those that were joined with it.
    pub fn error(&self, error: &Error) {
        for error in error.each() {
            let message = sanitize::lines(&error.explanation()) + &self.hints(error);
            self.annotate("error", Style::new().red(), &message);
        }
    }

    /// Prints a message that has no invisible characters, and makes it an annotation in a job.
    fn annotate(&self, name: &'static str, style: Style, message: &str) {
        match self.in_actions {
            true => put(&Command { name, message }.to_string()),
            false => put(&format!("{} {message}", paint(style.bold(), &format!("{name}:")))),
        }
    }

    /// Returns the hints, each on a line of its own. An annotation shows its message alone, so the
    /// hints are a part of the message.
    fn hints(&self, error: &Error) -> String {
        let word = match self.in_actions {
            true => "hint:".to_owned(),
            false => paint(Style::new().cyan().bold(), "hint:"),
        };
        let line = |hint: &String| format!("\n{word} {}", sanitize::line(hint));
        error.hints().iter().map(line).collect()
    }

    /// Returns a function that prints a message.
    pub fn teller(&self) -> fn(&str) {
        |message| put(&sanitize::lines(message))
    }

    /// Returns a function that hides a secret in all later output.
    pub fn mask(&self) -> fn(&str) {
        match self.in_actions {
            true => |secret| {
                sanitize::hide(secret);
                put(&Command { name: "add-mask", message: secret }.to_string());
            },
            false => sanitize::hide,
        }
    }

    /// Opens a fold in the runner's log. Elsewhere, prints a heading.
    pub fn begin(&self, title: &str) {
        match self.in_actions {
            true => put(&Command { name: "group", message: &sanitize::line(title) }.to_string()),
            false => put(&paint(Style::new().bold(), &sanitize::line(title))),
        }
    }

    /// Closes the fold.
    pub fn end(&self) {
        if self.in_actions {
            put("::endgroup::");
        }
    }

    /// Prints rows of two columns, aligned.
    pub fn table(&self, rows: &[(&str, String)]) {
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in rows {
            put(&format!(
                "  {}  {}",
                paint(Style::new().dim(), &format!("{name:width$}")),
                sanitize::line(value)
            ));
        }
    }

    /// Returns a display of progress: a bar on a terminal, lines in a log.
    pub fn progress(&self) -> Progress {
        match (self.in_actions, std::io::stderr().is_terminal()) {
            (false, true) => Progress::bar(),
            _ => Progress::log(put),
        }
    }
}

/// Adds colours if standard error is a terminal. NO_COLOR and CLICOLOR can forbid them.
fn paint(style: Style, text: &str) -> String {
    style.for_stderr().apply_to(text).to_string()
}

/// Prints a text and a line end. A closed standard error is no failure.
fn put(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
