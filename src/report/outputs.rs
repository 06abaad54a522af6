//! The view of an outcome for programs. Later steps, other jobs and `--json` see the same names.

use serde_json::{Map, Value, json};

use crate::outcome::{FACTS, Outcome, Output};

/// Returns every output, in the order of docs/reference.md.
pub fn all() -> impl Iterator<Item = Output> {
    FACTS.iter().filter_map(|fact| fact.output)
}

/// Returns the outputs of a step that ended before its outcome was known.
///
/// A later `if` must not read an empty string, so `retrain-needed` is `true`.
pub fn unknown() -> Vec<(&'static str, String)> {
    all().map(|output| (output.name, output.unknown.to_owned())).collect()
}

/// Returns every output as text. An output without a value is empty or `0`.
pub fn pairs(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let text = |value: Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    values(outcome)
        .map(|(name, value)| match name {
            "pointer" => (name, pointer_text(outcome).unwrap_or_default()),
            _ => (name, text(value)),
        })
        .collect()
}

/// Returns one object with the outputs and the list of changes.
pub fn json(outcome: &Outcome) -> Value {
    let mut object: Map<String, Value> =
        values(outcome).map(|(name, value)| (name.to_owned(), value)).collect();
    object.insert("changes".to_owned(), json!(outcome.changes));
    Value::Object(object)
}

/// Returns the pointer exactly as the store has it, so that its digest stays the same.
pub fn pointer_text(outcome: &Outcome) -> Option<String> {
    String::from_utf8(outcome.pointer.as_ref()?.to_bytes().ok()?).ok()
}

fn values(outcome: &Outcome) -> impl Iterator<Item = (&'static str, Value)> {
    all().map(|output| (output.name, (output.value)(outcome)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Reason;
    use crate::format::Pointer;
    use crate::outcome::Ending;

    #[test]
    fn every_output_is_always_set_and_booleans_are_literal() {
        let pointer =
            Pointer::parse(include_bytes!("../../tests/it/golden/v1/pointer.json")).unwrap();
        let nothing = Outcome::new("restore", &pointer.namespace, &pointer.model, Ending::NotSaved);
        for pairs in [unknown(), pairs(&nothing)] {
            assert_eq!(pairs.len(), all().count());
            for (name, value) in &pairs {
                if ["cache-hit", "restored", "saved"].contains(name) {
                    assert_eq!(value, "false", "{name}");
                }
                if ["changed-count", "model-files", "model-bytes"].contains(name) {
                    assert_eq!(value, "0", "{name}");
                }
            }
        }
        assert!(unknown().contains(&("retrain-needed", "true".to_owned())));
        let hit = Outcome {
            pointer: Some(pointer.clone()),
            reason: Some(Reason::Hit),
            ..Outcome::new("restore", &pointer.namespace, &pointer.model, Ending::Restored)
        };
        let pairs: std::collections::BTreeMap<_, _> = pairs(&hit).into_iter().collect();
        assert_eq!(pairs["pointer"].as_bytes(), pointer.to_bytes().unwrap());
        assert_eq!(pairs["reason"], "hit");
        assert_eq!(pairs["model-bytes"], "123456");
        for (name, value) in
            [("retrain-needed", "false"), ("cache-hit", "true"), ("restored", "true")]
        {
            assert_eq!(pairs[name], value, "{name}");
        }
    }

    #[test]
    fn the_documented_reasons_are_all_reasons() {
        let help = all().find(|output| output.name == "reason").unwrap().help;
        for reason in Reason::ALL {
            assert!(help.contains(&format!("`{}`", reason.word())), "{reason:?}");
        }
    }
}
