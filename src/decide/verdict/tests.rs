//! Every verdict in a table.

use super::*;
use crate::format::pointer::ForceSource;
use crate::format::{Digest, Fingerprint};

fn pointer() -> Pointer {
    Pointer::parse(include_bytes!("../../../tests/it/golden/v1/pointer.json")).unwrap()
}

fn digests(data: &str, training: &str, extra: &str) -> InputDigests {
    let digest = |text: &str| Digest::of(text.as_bytes());
    InputDigests {
        data: digest(data),
        training: digest(training),
        extra: digest(extra),
        fingerprint: Fingerprint::of([data, training, extra].join("|").as_bytes()),
    }
}

fn found(absent: usize) -> Lookup {
    Lookup::Found(Box::new(Found { scope: Scope::Trusted, pointer: pointer(), absent, wrong: 0 }))
}

fn by_input() -> Forced {
    Forced {
        by: Some("octocat".into()),
        source: ForceSource::Input,
        detail: "force-retrain".into(),
    }
}

#[test]
fn the_table_of_verdicts() {
    let inputs = digests("d", "t", "e");
    let now = pointer().created_at + SignedDuration::from_hours(24 * 10);
    let always = Policy::default();
    let forced = Policy { force: Some(by_input()), ..always.clone() };
    let weekly = Policy { max_age: Some(SignedDuration::from_hours(24 * 7)), ..always.clone() };
    let monthly = Policy { max_age: Some(SignedDuration::from_hours(24 * 30)), ..always.clone() };
    let ten_days = Policy { max_age: Some(SignedDuration::from_hours(24 * 10)), ..always.clone() };
    let failed = Lookup::Failed("no answer".into());
    let table = [
        (&found(0), None, &always, Reason::Hit),
        (&found(0), None, &monthly, Reason::Hit),
        (&found(0), None, &ten_days, Reason::Hit),
        (&found(0), None, &weekly, Reason::Expired),
        (&found(0), None, &forced, Reason::Forced),
        (&found(3), None, &always, Reason::Incomplete),
        (&found(3), None, &weekly, Reason::Incomplete),
        (&failed, None, &always, Reason::StoreUnavailable),
        (&failed, Some(digests("x", "t", "e")), &always, Reason::StoreUnavailable),
        (&failed, None, &forced, Reason::Forced),
        (&Lookup::Absent, None, &always, Reason::NoModel),
        (&Lookup::Absent, Some(digests("x", "t", "e")), &always, Reason::DataChanged),
        (&Lookup::Absent, Some(digests("d", "x", "e")), &always, Reason::TrainingChanged),
        (&Lookup::Absent, Some(digests("d", "t", "x")), &always, Reason::ExtraKeyChanged),
        (&Lookup::Absent, Some(digests("x", "x", "e")), &always, Reason::InputsChanged),
        (&Lookup::Absent, Some(digests("d", "x", "x")), &always, Reason::InputsChanged),
        (&Lookup::Absent, Some(digests("d", "t", "e")), &always, Reason::NoModel),
        (&Lookup::Absent, Some(digests("x", "t", "e")), &forced, Reason::Forced),
    ];
    for (lookup, baseline, policy, reason) in table {
        let decision = decide(&inputs, lookup, baseline.as_ref(), policy, now);
        let why = decision.why();
        assert_eq!(why.reason, reason, "{lookup:?} {policy:?}");
        assert_eq!(decision.hit().is_some(), reason == Reason::Hit);
        assert!(!why.explanation.ends_with('.'));
    }
}

#[test]
fn a_model_from_the_future_is_expired_where_an_age_counts() {
    let inputs = digests("d", "t", "e");
    let weekly = Policy { max_age: Some(SignedDuration::from_hours(24 * 7)), force: None };
    for (policy, minutes, reason) in [
        (&weekly, 9, Reason::Hit),
        (&weekly, 11, Reason::Expired),
        (&weekly, 60 * 24 * 365 * 70, Reason::Expired),
        (&Policy::default(), 60 * 24 * 365 * 70, Reason::Hit),
    ] {
        let now = pointer().created_at - SignedDuration::from_mins(minutes);
        let why = decide(&inputs, &found(0), None, policy, now).why();
        assert_eq!(why.reason, reason, "{minutes}");
        assert_eq!(why.explanation.contains("in the future"), reason == Reason::Expired);
    }
}

#[test]
fn words_are_those_that_are_serialized() {
    for reason in Reason::ALL {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.word());
    }
}

#[test]
fn an_age_is_said_in_the_unit_that_fits() {
    for (minutes, said) in [
        (0, "0 minutes old"),
        (119, "119 minutes old"),
        (120, "2 hours old"),
        (47 * 60, "47 hours old"),
        (48 * 60, "2 days old"),
        (71 * 60, "2 days old"),
        (72 * 60, "3 days old"),
    ] {
        assert_eq!(days(SignedDuration::from_mins(minutes)), said);
    }
}
