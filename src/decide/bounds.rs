//! Whether the metrics of a model suffice.

use std::fmt;
use std::str::FromStr;

use crate::format::metrics::{Decimal, Metric, is_name};

/// Comparisons, the longer words first.
const COMPARISONS: [(&str, Comparison); 4] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];
/// Sums of decimals in floating point differ by less than this part of the larger number.
const ROUNDING: f64 = 1e-12;

/// A demand on a metric, such as `auc >= 0.9` or `auc >= trusted - 0.005`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The name of the metric.
    pub metric: String,
    comparison: Comparison,
    limit: Limit,
    /// The bound as the user wrote it.
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    AtMost,
    Above,
    Below,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    Number(f64),
    /// The metric of the trusted model, and a number to add.
    Trusted(f64),
}

/// What a bound says of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The metric keeps the bound, which was this number.
    Kept(f64),
    /// The metric breaks the bound, which was this number.
    Broken(f64),
    /// The model has no such metric.
    Missing,
    /// There is no trusted model with this metric, so there is nothing to compare with.
    NoTrusted,
}

impl Verdict {
    /// Returns whether the model may be stored.
    pub fn passes(self) -> bool {
        matches!(self, Self::Kept(_) | Self::NoTrusted)
    }
}

impl Bound {
    /// Compares a model with the bound. `trusted` are the metrics of the trusted model.
    pub fn judge(&self, metrics: &[Metric], trusted: &[Metric]) -> Verdict {
        let Some(value) = value(metrics, &self.metric) else { return Verdict::Missing };
        let limit = match self.limit {
            Limit::Number(number) => number,
            Limit::Trusted(more) => match self::value(trusted, &self.metric) {
                Some(trusted) => trusted + more,
                None => return Verdict::NoTrusted,
            },
        };
        let near = (value - limit).abs() <= ROUNDING * value.abs().max(limit.abs());
        let keeps = match self.comparison {
            Comparison::AtLeast => value > limit || near,
            Comparison::AtMost => value < limit || near,
            Comparison::Above => value > limit && !near,
            Comparison::Below => value < limit && !near,
        };
        if keeps { Verdict::Kept(limit) } else { Verdict::Broken(limit) }
    }
}

fn value(metrics: &[Metric], name: &str) -> Option<f64> {
    metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value.as_f64())
}

impl FromStr for Bound {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let at = text.find(['<', '>']).ok_or(())?;
        let (name, rest) = text.split_at(at);
        let found = COMPARISONS.iter().find_map(|(word, it)| Some((*it, rest.strip_prefix(word)?)));
        let (comparison, limit) = found.ok_or(())?;
        let metric = name.trim();
        // Nobody means `=>` or `!>`.
        if !is_name(metric) || metric.ends_with(['=', '!']) {
            return Err(());
        }
        Ok(Self {
            metric: metric.to_owned(),
            comparison,
            limit: limit.parse()?,
            text: text.to_owned(),
        })
    }
}

impl FromStr for Limit {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| {
            text.trim().parse::<Decimal>().map(|number| number.as_f64()).map_err(|_| ())
        };
        let Some(more) = text.trim().strip_prefix("trusted") else {
            return number(text).map(Self::Number);
        };
        let more = more.trim_start();
        match (more, more.strip_prefix('+'), more.strip_prefix('-')) {
            ("", ..) => Ok(Self::Trusted(0.0)),
            (_, Some(added), _) => number(added).map(Self::Trusted),
            (_, _, Some(taken)) => number(taken).map(|taken| Self::Trusted(-taken)),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(auc: &str) -> Vec<Metric> {
        vec![Metric { name: "auc".to_owned(), value: auc.parse().unwrap() }]
    }

    #[test]
    fn a_bound_names_a_metric_a_comparison_and_a_limit() {
        for text in [
            "auc >= 0.9",
            "auc>=0.9",
            "test.log loss < 1e-3",
            "auc >= trusted",
            "auc >= trusted - 0.005",
            "auc>=trusted+1",
        ] {
            assert_eq!(text.parse::<Bound>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "auc",
            "auc >=",
            ">= 1",
            "auc = 1",
            "auc == 1",
            "auc => 1",
            "auc >= high",
            "auc >= trusted 1",
            "auc >= trusted - x",
            "auc >= trusted-",
            "auc >= NaN",
            "auc >= 0.9 and loss < 1",
        ] {
            assert!(text.parse::<Bound>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_model_keeps_or_breaks_a_bound() {
        for (bound, value, trusted, passes) in [
            ("auc >= 0.9", "0.9", "0", true),
            ("auc >= 0.9", "0.8999", "0", false),
            ("auc > 0.9", "0.9", "0", false),
            ("auc < 0.9", "0.9", "0", false),
            ("auc <= 0.9", "0.9", "0", true),
            // In floating point, 0.3 - 0.1 is a little less than 0.2, and 0.1 + 0.2 more than 0.3.
            ("auc >= trusted + 0.2", "0.3", "0.1", true),
            ("auc > trusted - 0.1", "0.2", "0.3", false),
            ("auc >= trusted - 0.005", "0.925", "0.93", true),
            ("auc >= trusted - 0.005", "0.9249", "0.93", false),
            ("auc >= trusted", "-1", "-1", true),
            ("auc < trusted", "0", "0", false),
        ] {
            let bound: Bound = bound.parse().unwrap();
            let verdict = bound.judge(&metrics(value), &metrics(trusted));
            assert_eq!(verdict.passes(), passes, "{bound}: {value} beside {trusted}");
        }
        let bound: Bound = "auc >= trusted - 1".parse().unwrap();
        assert_eq!(bound.judge(&metrics("0"), &[]), Verdict::NoTrusted);
        assert_eq!(bound.judge(&[], &metrics("0")), Verdict::Missing);
        assert!(Verdict::NoTrusted.passes() && !Verdict::Missing.passes());
    }
}
