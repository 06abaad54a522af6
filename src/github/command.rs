//! Workflow commands: lines on standard output or error that the runner obeys.
//!
//! Source: "Workflow commands for GitHub Actions", and actions/toolkit, packages/core/src/command.ts.

use std::fmt;

/// `::name::message`, escaped so that the message cannot be anything else.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// `debug`, `notice`, `warning`, `error`, `group`, `endgroup` or `add-mask`.
    pub name: &'static str,
    /// Any text.
    pub message: &'a str,
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
        write!(f, "::{}::{message}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_a_message() {
        let command = Command { name: "warning", message: "100%\n::set-output name=a::b\r" };
        assert_eq!(command.to_string(), "::warning::100%25%0A::set-output name=a::b%0D");
    }
}
