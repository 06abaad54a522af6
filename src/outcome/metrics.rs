//! The metrics of a model beside those of the trusted model.

use super::Outcome;
use crate::format::metrics::Metric;

/// A row for people. All texts are ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The metric.
    pub name: String,
    /// The value of the model.
    pub value: String,
    /// The value of the trusted model; empty if it has none.
    pub trusted: String,
    /// The value of the model less the value of the trusted model; empty if it has none.
    pub difference: String,
}

/// Returns the rows for the metrics of an outcome's model.
pub fn rows(outcome: &Outcome) -> Vec<Row> {
    let Some(pointer) = &outcome.pointer else { return Vec::new() };
    let row = |metric: &Metric| {
        let Metric { name, value } = metric;
        let beside = outcome.beside.as_ref();
        let trusted = beside.and_then(|all| all.iter().find(|it| it.name == *name));
        let difference = trusted.map(|it| value.as_f64() - it.value.as_f64());
        Row {
            name: name.clone(),
            value: value.to_string(),
            trusted: trusted.map(|it| it.value.to_string()).unwrap_or_default(),
            difference: difference.map(signed).unwrap_or_default(),
        }
    };
    pointer.metrics.iter().map(row).collect()
}

/// Returns a difference with its sign, and without the noise of floating point.
fn signed(difference: f64) -> String {
    let text = format!("{difference:+.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match text {
        "+0" | "-0" if difference == 0.0 => "0".to_owned(),
        "+0" | "-0" => format!("{difference:+.1e}"),
        text => text.to_owned(),
    }
}

/// Returns the first `most` metrics on one line; `None` if there are none.
pub fn line(outcome: &Outcome, most: usize) -> Option<String> {
    let rows = rows(outcome);
    let told = |row: &Row| match row.trusted.is_empty() {
        true => format!("{} {}", row.name, row.value),
        false => {
            format!("{} {} (trusted {}, {})", row.name, row.value, row.trusted, row.difference)
        }
    };
    let mut told: Vec<String> = rows.iter().take(most).map(told).collect();
    if rows.len() > most {
        told.push(format!("… and {} more", rows.len() - most));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_short_and_never_hides_a_change() {
        for (value, trusted, shown) in [
            (0.925, 0.93, "-0.005"),
            (0.3, 0.1, "+0.2"),
            (1.0, 1.0, "0"),
            (100.0, 90.0, "+10"),
            (1e-9, 0.0, "+1.0e-9"),
            (0.0, 1e-9, "-1.0e-9"),
        ] {
            assert_eq!(signed(value - trusted), shown);
        }
    }
}
