//! The metrics of the model that a save stores: reads the file that the training wrote, and
//! compares it with `min-metrics`.

use std::collections::BTreeMap;
use std::fs;

use jiff::Timestamp;
use serde_json::Value;

use super::files;
use crate::commands::Context;
use crate::decide::bounds::Verdict;
use crate::error::{Error, Result};
use crate::format::metrics::{MAX_METRICS, MAX_NAME, Metric, is_name};
use crate::outcome::describe;
use crate::regular_file;
use crate::stamp::Stamp;

/// The metrics of a model, and of the trusted model before it.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// The metrics of the model, in the order of their names.
    pub(super) metrics: Vec<Metric>,
    /// The metrics of the trusted model; `None` if there is no such model.
    pub(super) trusted: Option<Vec<Metric>>,
}

/// The largest file of metrics, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Where exports of MLflow have their metrics.
const MLFLOW: [&[&str]; 3] = [&["run", "data", "metrics"], &["data", "metrics"], &["metrics"]];

const WRITE: &str = "let the training write the file that `metrics` names";
const FORMS: &str = "write one JSON object of numbers, such as {\"auc\": 0.93}; objects in it give \
                     names such as `test.auc`, and exports of MLflow also work";

/// Reads the metrics, and those of the trusted model. Returns nothing if the step names no file.
///
/// # Errors
/// - The file is missing, or older than the training, or holds no metrics.
/// - The trusted model cannot be looked up.
pub(super) async fn read(ctx: &Context, began: Option<Timestamp>) -> Result<Compared> {
    let Some(name) = &ctx.settings.metrics else { return Ok(Compared::default()) };
    let path = ctx.settings.workspace.join(name);
    let bytes =
        regular_file::read("metrics", &path, MAX_BYTES).map_err(|error| error.hint(WRITE))?;
    // Then it has the metrics of another model.
    let written = fs::metadata(&path).map(|found| Stamp::of(&found).latest());
    if written.is_ok_and(|written| began.is_some_and(|began| written < files::earliest(began))) {
        return Err(Error::failed(format!("`{name}` is older than the training")).hint(WRITE));
    }
    let metrics = parse(&bytes).map_err(|why| {
        Error::failed(format!("the metrics in `{name}` cannot be used: {why}")).hint(FORMS)
    })?;
    let trusted = ctx.latest_trusted().await?;
    Ok(Compared { metrics, trusted: trusted.map(|pointer| pointer.metrics) })
}

/// Compares the metrics with `min-metrics`.
///
/// # Errors
/// The model breaks a bound.
pub(super) fn judge(ctx: &Context, compared: &Compared) -> Result<()> {
    let Compared { metrics, trusted } = compared;
    let mut broken = Vec::new();
    for bound in &ctx.settings.min_metrics {
        let verdict = bound.judge(metrics, trusted.as_deref().unwrap_or_default());
        if verdict == Verdict::NoTrusted {
            ctx.report.info(&format!(
                "{}: `{bound}` holds, because no trusted model has this metric",
                ctx.settings.model
            ));
        }
        if !verdict.passes() {
            broken.push(describe::broken(bound, verdict, metrics));
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(Error::failed(format!("the model is below `min-metrics`:\n  {}", broken.join("\n  ")))
        .hint("train a better model, or change `min-metrics`"))
}

/// Reads the metrics of a document, in the order of their names.
fn parse(bytes: &[u8]) -> std::result::Result<Vec<Metric>, String> {
    let document: Value = serde_json::from_slice(bytes).map_err(|error| {
        let hint = " (JSON has no `NaN` and no `Infinity`)";
        let named = ["NaN", "Infinity"].iter().any(|word| contains(bytes, word.as_bytes()));
        format!("it is no JSON: {error}{}", if named { hint } else { "" })
    })?;
    let mut found = BTreeMap::new();
    match mlflow(&document) {
        Some(metrics) => gather("", metrics, &mut found)?,
        None => gather("", &document, &mut found)?,
    }
    match found.len() {
        0 => return Err("it has no number".to_owned()),
        1..=MAX_METRICS => {}
        count => return Err(format!("it has {count} metrics, and at most {MAX_METRICS} are kept")),
    }
    let metric = |(name, value): (String, String)| match (is_name(&name), value.parse()) {
        (true, Ok(value)) => Ok(Metric { name, value }),
        (true, Err(why)) => Err(why),
        (false, _) => Err(format!(
            "the name {name:?} is empty, has control characters, or is longer than {MAX_NAME} bytes"
        )),
    };
    found.into_iter().map(metric).collect()
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|part| part == word)
}

/// Returns the metrics in an export of MLflow: a list of entries with `key` and `value`, or an
/// object.
///
/// Source: MLflow REST API, "Run", "RunData" and "Metric".
fn mlflow(document: &Value) -> Option<&Value> {
    if is_list(document) {
        return Some(document);
    }
    MLFLOW.iter().find_map(|path| {
        let found = path.iter().try_fold(document, |value, name| value.get(name))?;
        (is_list(found) || found.is_object()).then_some(found)
    })
}

fn is_list(value: &Value) -> bool {
    let is_entry = |entry: &Value| entry["key"].is_string() && entry["value"].is_number();
    value.as_array().is_some_and(|entries| entries.iter().all(is_entry))
}

/// Gathers the numbers of an object, and of the objects in it. Other values are no metrics.
fn gather(
    above: &str,
    value: &Value,
    found: &mut BTreeMap<String, String>,
) -> std::result::Result<(), String> {
    match value {
        Value::Array(_) if above.is_empty() && is_list(value) => {
            // Of a metric that was logged several times, the last step counts.
            let mut last: BTreeMap<&str, (i64, &Value)> = BTreeMap::new();
            for entry in value.as_array().into_iter().flatten() {
                let (name, step) = (entry["key"].as_str(), entry["step"].as_i64());
                let (name, step) = (name.unwrap_or_default(), step.unwrap_or_default());
                let newest = last.entry(name).or_insert((step, &entry["value"]));
                if step >= newest.0 {
                    *newest = (step, &entry["value"]);
                }
            }
            found.extend(last.iter().map(|(name, last)| ((*name).to_owned(), last.1.to_string())));
            Ok(())
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                let name = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
                match value {
                    Value::Number(_) if found.contains_key(&name) => {
                        return Err(format!("two of its metrics have the name `{name}`"));
                    }
                    Value::Number(_) => drop(found.insert(name, value.to_string())),
                    Value::Object(_) => gather(&name, value, found)?,
                    _ => {}
                }
            }
            Ok(())
        }
        _ => Err("it is neither an object nor a list of metrics".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NESTED: &str = "test.by.fr=-2e-7 train.auc=1";

    fn parsed(text: &str) -> std::result::Result<String, String> {
        let metrics = parse(text.as_bytes())?;
        let told = |metric: &Metric| format!("{}={}", metric.name, metric.value);
        Ok(metrics.iter().map(told).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_usual_forms_are_read() {
        for (text, wanted) in [
            (r#"{"loss": 0.25, "auc": 0.9312}"#, "auc=0.9312 loss=0.25"),
            (r#"{"auc": 0.9, "name": "x", "ok": true, "none": null, "all": [1]}"#, "auc=0.9"),
            (r#"{"train": {"auc": 1}, "test": {"by": {"fr": -2e-7}}}"#, NESTED),
            (r#"[{"key": "auc", "value": 0.5}]"#, "auc=0.5"),
            (
                r#"{"run": {"info": {"size": 3}, "data": {"metrics": [
                    {"key": "auc", "value": 0.5, "step": 2},
                    {"key": "auc", "value": 0.4, "step": 1},
                    {"key": "n", "value": 7}]}}}"#,
                "auc=0.5 n=7",
            ),
            (r#"{"data": {"metrics": {"auc": 0.5}, "params": {"depth": 3}}}"#, "auc=0.5"),
            (r#"{"metrics": {"auc": 0.5}, "seed": 3}"#, "auc=0.5"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_holds_no_metrics_is_refused_with_the_reason() {
        let many: Vec<String> = (0..=MAX_METRICS).map(|it| format!("\"m{it}\":1")).collect();
        for (text, reason) in [
            ("", "no JSON"),
            ("auc: 0.9", "no JSON"),
            (r#"{"auc": NaN}"#, "JSON has no `NaN`"),
            ("{}", "no number"),
            (r#"{"auc": "0.9"}"#, "no number"),
            ("0.9", "neither an object"),
            ("[1, 2]", "neither an object"),
            (r#"{"": 1}"#, "is empty"),
            (r#"{"a\nb": 1}"#, "control characters"),
            (r#"{"a.b": 1, "a": {"b": 2}}"#, "have the name `a.b`"),
            (&format!("{{{}}}", many.join(",")), "at most 64"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
