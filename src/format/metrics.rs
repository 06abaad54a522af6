//! The figures of a model, such as its accuracy. Source: docs/formats.md, "Pointer".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::FormatError;

/// The largest number of metrics of a model.
pub const MAX_METRICS: usize = 64;
/// The longest name of a metric, in bytes.
pub const MAX_NAME: usize = 128;
/// The longest text of a value, in bytes.
const MAX_DECIMAL: usize = 32;

/// A figure of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// 1 to [`MAX_NAME`] bytes without control characters, such as `auc`.
    pub name: String,
    /// The value.
    pub value: Decimal,
}

/// A decimal number, as the text of a JSON number of at most 32 bytes. A text keeps the digits that
/// the training wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Decimal(String);

impl Decimal {
    /// Returns the nearest floating-point number. It is finite.
    pub fn as_f64(&self) -> f64 {
        self.0.parse().unwrap_or_default()
    }
}

impl FromStr for Decimal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // JSON has neither `NaN` nor `inf` nor a leading plus.
        let is_number = text.len() <= MAX_DECIMAL
            && serde_json::from_str::<serde_json::Number>(text).is_ok()
            && text.parse::<f64>().is_ok_and(f64::is_finite)
            && !text.contains(|it: char| it.is_ascii_whitespace());
        if is_number { Ok(Self(text.to_owned())) } else { Err(format!("`{text}` is no decimal")) }
    }
}

impl TryFrom<String> for Decimal {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Decimal> for String {
    fn from(decimal: Decimal) -> Self {
        decimal.0
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns whether a text can be the name of a metric.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.contains(char::is_control)
}

/// Checks the metrics of a stored document.
///
/// # Errors
/// There are too many, a name is not allowed, or the names are not in ascending order.
pub fn check(what: &'static str, metrics: &[Metric]) -> Result<(), FormatError> {
    let bad = |reason: String| Err(FormatError::new(what, reason));
    if metrics.len() > MAX_METRICS {
        return bad(format!("it has more than {MAX_METRICS} metrics"));
    }
    if let Some(metric) = metrics.iter().find(|metric| !is_name(&metric.name)) {
        return bad(format!("`{}` is no name of a metric", metric.name));
    }
    if !metrics.is_sorted_by(|one, next| one.name < next.name) {
        return bad("its metrics are not in ascending order".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_the_text_of_a_finite_json_number() {
        for text in ["0", "-0.5", "0.9312", "1e-7", "1.5E+3", "12345678901234567890"] {
            assert_eq!(text.parse::<Decimal>().unwrap().to_string(), text);
        }
        let long = "0.".to_owned() + &"1".repeat(MAX_DECIMAL);
        for text in ["", "NaN", "inf", "+1", ".5", "1.", "01", "1e999", " 1", "1 ", "0x1", &long] {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }

    #[test]
    fn metrics_have_names_in_ascending_order() {
        let of = |names: &[&str]| {
            let metric =
                |name: &&str| Metric { name: (*name).to_owned(), value: "1".parse().unwrap() };
            check("pointer", &names.iter().map(metric).collect::<Vec<_>>())
        };
        let many: Vec<String> = (0..=MAX_METRICS).map(|it| format!("{it:03}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for good in [&[][..], &["a"], &["a", "b", "ä c"], &many[1..]] {
            assert!(of(good).is_ok(), "{good:?}");
        }
        for bad in [&["b", "a"][..], &["a", "a"], &[""], &["a\nb"], &many] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
