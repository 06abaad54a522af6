//! The job summary: the decision and its reasons as Markdown.

use indicatif::HumanBytes;

use crate::decide::Change;
use crate::sanitize::markdown;

/// At most so many changed inputs are listed.
const MAX_CHANGES: usize = 50;

/// At most so many are shown without a click: they are what a reader of a `retrain` looks for.
const OPEN_CHANGES: usize = 10;

/// What a summary tells.
#[derive(Clone, Debug)]
pub struct Summary<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The headline, such as `restored` or `retrain`.
    pub decision: &'a str,
    /// The reason's word, and the sentence for it.
    pub reason: (&'a str, &'a str),
    /// More rows, as name and value.
    pub rows: Vec<(&'static str, String)>,
    /// Inputs that changed.
    pub changes: &'a [Change],
}

impl Summary<'_> {
    /// Renders the summary; all foreign text in it is escaped.
    pub fn render(&self) -> String {
        let (word, explanation) = self.reason;
        let mut text = format!("### {}: {}\n\n", markdown(self.model), markdown(self.decision));
        // The first row is the table's heading; without the colons GitHub would centre it.
        text.push_str(&format!(
            "| Reason | {}: {} |\n| :--- | :--- |\n",
            markdown(word),
            prose(explanation)
        ));
        for (name, value) in &self.rows {
            text.push_str(&format!("| {name} | {} |\n", prose(value)));
        }
        if !self.changes.is_empty() {
            let noun = if self.changes.len() == 1 { "input" } else { "inputs" };
            let open = if self.changes.len() <= OPEN_CHANGES { " open" } else { "" };
            text.push_str(&format!(
                "\n<details{open}><summary>{} changed {noun}</summary>\n\n",
                self.changes.len()
            ));
            text.push_str("| Set | Change | Path |\n| :--- | :--- | :--- |\n");
            for change in self.changes.iter().take(MAX_CHANGES) {
                let from = change
                    .old_path
                    .as_ref()
                    .map(|path| format!(" (was {})", markdown(path)))
                    .unwrap_or_default();
                let path = markdown(&change.path);
                text.push_str(&format!(
                    "| {} | {} | {path}{from} |\n",
                    change.set.word(),
                    change.kind.word()
                ));
            }
            if self.changes.len() > MAX_CHANGES {
                text.push_str(&format!(
                    "| … | | and {} more |\n",
                    self.changes.len() - MAX_CHANGES
                ));
            }
            text.push_str("\n</details>\n");
        }
        text.push('\n');
        text
    }
}

/// Returns the text for a cell: as [`markdown`], but what stands between two backticks is shown as
/// code. All else in it stays escaped, so foreign text with backticks gains a font and nothing
/// more.
fn prose(text: &str) -> String {
    let escaped = markdown(text);
    let pieces: Vec<&str> = escaped.split("&#96;").collect();
    let mut shown = String::with_capacity(escaped.len());
    for (at, piece) in pieces.iter().enumerate() {
        match (at % 2 == 1, at + 1 < pieces.len()) {
            (true, true) => shown.push_str(&format!("<code>{piece}</code>")),
            (true, false) => shown.push_str(&format!("&#96;{piece}")),
            (false, _) => shown.push_str(piece),
        }
    }
    shown
}

/// Returns `3 files, 1.5 MiB`.
pub fn files_and_bytes(files: u64, bytes: u64) -> String {
    let noun = if files == 1 { "file" } else { "files" };
    format!("{files} {noun}, {}", HumanBytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{ChangeKind, InputSet};

    #[test]
    fn a_summary_is_one_table_whatever_the_names_are() {
        let change = |path: &str| Change {
            kind: ChangeKind::Modified,
            set: InputSet::Data,
            path: path.into(),
            old_path: None,
        };
        let changes: Vec<Change> =
            (0..60).map(|n| change(&format!("data/{n}|<b>\n::error::x"))).collect();
        let summary = Summary {
            model: "m|x",
            decision: "retrain",
            reason: ("data-changed", "the data changed"),
            rows: vec![("Model", files_and_bytes(1, 2048))],
            changes: &changes,
        };
        let text = summary.render();
        let start: Vec<&str> = text.lines().take(11).collect();
        assert_eq!(
            start,
            [
                "### m&#124;x: retrain",
                "",
                "| Reason | data-changed: the data changed |",
                "| :--- | :--- |",
                "| Model | 1 file, 2.00 KiB |",
                "",
                "<details><summary>60 changed inputs</summary>",
                "",
                "| Set | Change | Path |",
                "| :--- | :--- | :--- |",
                "| data | modified | data/0&#124;&lt;b&gt;&#92;n&#58;:error&#58;:x |",
            ]
        );
        assert!(text.contains("and 10 more"));
        assert!(!text.contains("<b>") && !text.contains("\n::"));
        let few = Summary { changes: &changes[..OPEN_CHANGES], ..summary }.render();
        assert!(few.contains("\n<details open><summary>10 changed inputs</summary>\n"), "{few}");
    }

    #[test]
    fn what_stands_between_backticks_is_code_and_still_escaped() {
        for (text, shown) in [
            ("in the scope `trusted`", "in the scope <code>trusted</code>"),
            ("`a` or `b`", "<code>a</code> or <code>b</code>"),
            ("no end `a", "no end &#96;a"),
            ("`a` and `", "<code>a</code> and &#96;"),
            ("`<img>|` x", "<code>&lt;img&gt;&#124;</code> x"),
            ("``", "<code></code>"),
            ("", ""),
        ] {
            assert_eq!(prose(text), shown, "{text}");
        }
    }
}
