//! Whether the user forces a training, and how.

use crate::format::pointer::{ForceSource, Forced};
use crate::workflow::RunContext;

/// The triggers of a forced training. Message and label count only if the user names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForceRules {
    /// The value of the input `force-retrain`.
    pub input: bool,
    /// The text of `force-retrain-message`, such as `[retrain]`. It forces if the commit's message
    /// contains it.
    pub message: Option<String>,
    /// The text of `force-retrain-label`. It forces if the pull request has this label.
    pub label: Option<String>,
}

/// Returns who forces the training, and how; `None` if nobody does.
///
/// `message` is the message of the commit that caused the run, if known. Of several triggers, the
/// input counts first, then the message, then the label.
pub fn forced(
    rules: &ForceRules,
    run: Option<&RunContext>,
    message: Option<&str>,
) -> Option<Forced> {
    let by = run.map(|run| run.actor.clone()).filter(|actor| !actor.is_empty());
    let told =
        |source, detail: &str| Some(Forced { by: by.clone(), source, detail: detail.to_owned() });
    if rules.input {
        return told(ForceSource::Input, "force-retrain");
    }
    if let Some(token) =
        rules.message.as_ref().filter(|token| message.is_some_and(|text| text.contains(*token)))
    {
        return told(ForceSource::CommitMessage, token);
    }
    let labels =
        run.and_then(|run| run.pull_request.as_ref()).map_or(&[][..], |request| &request.labels);
    // GitHub ignores case in the names of labels.
    let label = rules
        .label
        .as_ref()
        .filter(|label| labels.iter().any(|one| one.eq_ignore_ascii_case(label)));
    label.and_then(|label| told(ForceSource::Label, label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::PullRequest;

    #[test]
    fn only_what_is_named_forces() {
        let request = PullRequest {
            number: 7,
            same_repository: true,
            labels: vec!["Retrain".into()],
            ..PullRequest::default()
        };
        let run = RunContext {
            actor: "octocat".into(),
            pull_request: Some(request),
            ..RunContext::default()
        };
        let message = Some("fix the loader [retrain]");
        let rules = ForceRules::default();
        assert_eq!(forced(&rules, Some(&run), message), None);
        for (rules, said) in [
            (
                ForceRules { input: true, ..rules.clone() },
                "the input `force-retrain` (run started by octocat)",
            ),
            (
                ForceRules { message: Some("[retrain]".into()), ..rules.clone() },
                "`[retrain]` in the commit's message (run started by octocat)",
            ),
            (
                ForceRules { label: Some("retrain".into()), ..rules.clone() },
                "the label `retrain` (run started by octocat)",
            ),
        ] {
            assert_eq!(forced(&rules, Some(&run), message).unwrap().to_string(), said);
        }
        let absent = ForceRules {
            input: false,
            message: Some("[train]".into()),
            label: Some("train".into()),
        };
        assert_eq!(forced(&absent, Some(&run), message), None);
        assert_eq!(forced(&absent, None, None), None);
        let outside = forced(&ForceRules { input: true, ..rules }, None, None).unwrap();
        assert_eq!(outside.to_string(), "the input `force-retrain`");
    }
}
