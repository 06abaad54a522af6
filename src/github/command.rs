//! Workflow commands: lines on standard output or standard error that the runner obeys.
//!
//! Source: "Workflow commands for GitHub Actions", and actions/toolkit,
//! packages/core/src/command.ts.

use std::fmt;

/// The command `::name::message`. Its escapes keep the message from becoming another command.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// `debug`, `notice`, `warning`, `error`, `group`, `endgroup` or `add-mask`.
    pub name: &'static str,
    /// The message, any text.
    pub message: &'a str,
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "::{}::{}", self.name, data(self.message))
    }
}

/// The command `::set-output name=…::value`, for runners without a file for outputs.
#[derive(Clone, Copy, Debug)]
pub struct SetOutput<'a> {
    /// The name of the output.
    pub name: &'a str,
    /// The value, any text.
    pub value: &'a str,
}

impl fmt::Display for SetOutput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = data(self.name).replace(':', "%3A").replace(',', "%2C");
        write!(f, "::set-output name={name}::{}", data(self.value))
    }
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_a_message() {
        let command = Command { name: "warning", message: "100%\n::set-output name=a::b\r" };
        assert_eq!(command.to_string(), "::warning::100%25%0A::set-output name=a::b%0D");
    }

    #[test]
    fn an_output_stays_one() {
        let command = SetOutput { name: "a,b:c\n", value: "{\"a\": 1}\r\n::error::100%" };
        assert_eq!(
            command.to_string(),
            "::set-output name=a%2Cb%3Ac%0A::{\"a\": 1}%0D%0A::error::100%25"
        );
    }
}
