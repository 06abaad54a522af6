//! The view of an outcome in the job summary, as Markdown.

use crate::error::Error;
use crate::outcome::metrics::{self, Row};
use crate::outcome::{Outcome, links};
use crate::sanitize::markdown;

/// The summary lists at most this many changed inputs.
const MAX_CHANGES: usize = 50;

/// The summary shows at most this many changed inputs without a click. They explain a `retrain`, so
/// readers look for them first.
const OPEN_CHANGES: usize = 10;

/// Renders the summary. All foreign text in it is escaped.
pub fn render(outcome: &Outcome) -> String {
    let (model, headline) = (markdown(outcome.model.as_str()), outcome.ending.headline());
    let mut text = format!("### {model}: {headline}\n\n");
    // The first row is the table's heading. Without the colons, GitHub would centre it.
    text.push_str(&format!(
        "| Reason | {}: {} |\n| :--- | :--- |\n",
        markdown(outcome.word()),
        prose(&outcome.explanation)
    ));
    for (name, value) in outcome.rows() {
        text.push_str(&format!("| {name} | {} |\n", prose(&value)));
    }
    let links = links::of(outcome);
    if !links.is_empty() {
        let links: Vec<String> =
            links.iter().map(|link| format!("[{}]({})", link.text, link.url)).collect();
        text.push_str(&format!("| Pages | {} |\n", links.join(", ")));
    }
    if outcome.beside.is_some() {
        text.push_str(&compared(outcome));
    }
    if !outcome.changes.is_empty() {
        let noun = if outcome.changes.len() == 1 { "input" } else { "inputs" };
        let open = if outcome.changes.len() <= OPEN_CHANGES { " open" } else { "" };
        text.push_str(&format!(
            "\n<details{open}><summary>{} changed {noun}</summary>\n\n",
            outcome.changes.len()
        ));
        text.push_str("| Set | Change | Path |\n| :--- | :--- | :--- |\n");
        for change in outcome.changes.iter().take(MAX_CHANGES) {
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
        if outcome.changes.len() > MAX_CHANGES {
            text.push_str(&format!("| … | | and {} more |\n", outcome.changes.len() - MAX_CHANGES));
        }
        text.push_str("\n</details>\n");
    }
    text.push('\n');
    text
}

/// Renders the heading alone, for a place that has no room for the table.
pub fn heading(model: &str, headline: &str) -> String {
    let more = "The table is too long for this place. The log of the run has the same text.";
    format!("### {}: {headline}\n\n{more}\n", markdown(model))
}

/// Renders the end of a step that failed, with the remedy of each failure and a row for each of its
/// items. `model` is its name, if it is known.
pub fn failure(model: Option<&str>, error: &Error, credentials: Option<&str>) -> String {
    let mut text = format!("### {}: failed\n\n", model.map_or("ml-cache".to_owned(), markdown));
    let cell = |lines: &str| lines.split('\n').map(prose).collect::<Vec<_>>().join("<br>");
    let mut rows = Vec::new();
    for error in error.each() {
        // An explanation indents the items of a list, such as all settings that cannot be used.
        let explanation = error.explanation();
        let mut parts = explanation.split("\n  ");
        rows.extend(parts.next().map(|first| ("Failure", cell(first))));
        rows.extend(parts.map(|item| ("", cell(item))));
        rows.extend(error.hints().iter().map(|hint| ("Remedy", cell(hint))));
    }
    rows.extend(credentials.map(|source| ("Credentials", prose(source))));
    for (at, (name, cell)) in rows.iter().enumerate() {
        let gap = if name.is_empty() { "" } else { " " };
        text.push_str(&format!("|{gap}{name} | {cell} |\n"));
        // The first row is the table's heading, as in every other summary.
        if at == 0 {
            text.push_str("| :--- | :--- |\n");
        }
    }
    text.push('\n');
    text
}

/// Returns the table of the metrics, beside those of the trusted model.
fn compared(outcome: &Outcome) -> String {
    let mut text = String::from(
        "\n| Metric | This model | Trusted model | Difference |\n| :--- | ---: | ---: | ---: |\n",
    );
    for Row { name, value, trusted, difference } in metrics::rows(outcome) {
        let name = markdown(&name);
        text.push_str(&format!("| {name} | {value} | {trusted} | {difference} |\n"));
    }
    text
}

/// Returns the text for a cell: as [`markdown`], but with code between two backticks.
///
/// The text between them stays escaped, so backticks in foreign text change only its font.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Change, ChangeKind, InputSet, Reason};
    use crate::outcome::{Ending, Sent};

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
        let namespace = "org/repo".parse().unwrap();
        let outcome = |changes: &[Change]| Outcome {
            reason: Some(Reason::DataChanged),
            explanation: "the data changed".to_owned(),
            sent: Some(Sent { blobs: 1, bytes: 2048 }),
            changes: changes.to_vec(),
            ..Outcome::new("plan", &namespace, &"m|x".parse().unwrap(), Ending::Retrain)
        };
        let text = render(&outcome(&changes));
        let start: Vec<&str> = text.lines().take(11).collect();
        assert_eq!(
            start,
            [
                "### m&#124;x: retrain",
                "",
                "| Reason | data-changed: the data changed |",
                "| :--- | :--- |",
                "| Uploaded | 1 object, 2.00 KiB |",
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
        let few = render(&outcome(&changes[..OPEN_CHANGES]));
        assert!(few.contains("\n<details open><summary>10 changed inputs</summary>\n"), "{few}");
    }

    #[test]
    fn a_failure_has_a_row_for_each_error_with_its_remedy() {
        let error = Error::join([
            Error::failed("cannot read `v1/x`:\nnow\n  <b>x</b>\n  y")
                .hint("check `store`")
                .hint("b"),
            Error::bad_input("a|b"),
        ]);
        assert_eq!(
            failure(Some("fraud"), &error.unwrap(), Some("the role x")),
            "### fraud: failed\n\n\
             | Failure | cannot read <code>v1/x</code>:<br>now |\n| :--- | :--- |\n\
             | | &lt;b&gt;x&lt;/b&gt; |\n| | y |\n\
             | Remedy | check <code>store</code> |\n| Remedy | b |\n\
             | Failure | a&#124;b |\n| Credentials | the role x |\n\n"
        );
        assert!(failure(None, &Error::failed("x"), None).starts_with("### ml-cache: failed\n"));
        assert!(
            heading("a|b", "failed").starts_with("### a&#124;b: failed\n\nThe table is too long")
        );
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
