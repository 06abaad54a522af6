//! The comment of a pull request: who gets it, what it shows, and what it never touches.

use serde_json::{Value, json};

use super::runner::{Runner, Step};
use crate::support::double::Double;

const REPOSITORY: &str = "acme/fraud-detection";
const MARKER: &str = "<!-- ml-cache: acme/fraud-detection/fraud -->";

/// A comment of the pull request: its author, or the empty text, and its text.
type Comment = (String, String);

/// A double with pull request 7, and with tokens of a job and of a person.
fn double() -> Double {
    let double = Double::start();
    let token = json!({"repositories": [REPOSITORY], "permissions": {"pull_requests": "write"}});
    let mut person = token.clone();
    person["kind"] = json!("fine-grained");
    person["login"] = json!("hubot");
    let repository = json!({"id": 4242, "default_branch": "main", "private": true});
    let state = json!({
        "repositories": {REPOSITORY: repository},
        "pulls": [{"repository": REPOSITORY, "number": 7}],
        "tokens": {"job": token, "person": person},
    });
    double.control("state", &state);
    double
}

fn seed(double: &Double, user: Value, body: &str) {
    let comment = json!({"repository": REPOSITORY, "number": 7, "user": user, "body": body});
    double.control("state", &json!({"comments": [comment]}));
}

fn comments(double: &Double) -> Vec<Comment> {
    let state = double.look("state");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let comments = state["comments"].as_array().unwrap().iter();
    comments.map(|it| (text(&it["user"]), text(&it["body"]))).collect()
}

/// Returns the text of the only comment, which the job's own token wrote.
#[track_caller]
fn only(double: &Double) -> String {
    let [(author, body)] = comments(double).try_into().unwrap();
    assert_eq!(author, "github-actions[bot]");
    body
}

/// Returns the number of requests of this method.
fn requests(double: &Double, method: &str) -> usize {
    let requests = double.look("requests");
    requests.as_array().unwrap().iter().filter(|it| it["method"] == method).count()
}

/// A push to the default branch that trained a model with these metrics.
fn trusted(auc: &str) -> Runner {
    let mut push = Runner::new();
    push.input("metrics", "metrics.json");
    let main = push.main();
    train(&push, &format!(r#"{{"auc": {auc}}}"#));
    push.post(&main).succeeds();
    push
}

fn train(runner: &Runner, metrics: &str) {
    runner.train("weights");
    runner.write("metrics.json", metrics);
}

/// The next run: of a pull request of the repository, with other data, which asks for a comment.
fn pull_request(double: &Double, before: &Runner) -> Runner {
    let mut request = before.next_job();
    request.pull_request(REPOSITORY);
    request.env("GITHUB_API_URL", &double.url);
    request.write("data/b.csv", "id,amount\n2,21\n");
    request.input("github-token", "job");
    request.input("comment", "true");
    request
}

/// The main step, a training with these metrics, and the post step.
fn whole(runner: &Runner, metrics: &str) -> Step {
    let main = runner.main();
    main.succeeds();
    assert_eq!(main.output("retrain-needed"), "true", "{}", main.log);
    train(runner, metrics);
    runner.post(&main)
}

#[test]
fn a_saved_model_becomes_a_comment_which_later_runs_update() {
    let double = double();
    let request = pull_request(&double, &trusted("0.93"));
    let main = request.main();
    assert_eq!(requests(&double, "GET"), 0, "without a model there is nothing to show");
    train(&request, r#"{"auc": 0.95}"#);
    let post = request.post(&main);
    post.succeeds();
    let compared = "| auc | 0.95 | 0.93 | +0.02 |";
    let saved = only(&double);
    assert_eq!(saved.trim_end(), format!("{MARKER}\n{}", post.summary).trim_end());
    assert!(saved.contains("### fraud: saved\n") && saved.contains(compared), "{saved}");
    assert!(post.log.contains("fraud: pull request #7 shows this in a comment"), "{}", post.log);

    // The trusted model of the comparison must not get lost when nothing was trained.
    let next = request.next_job();
    let hit = next.main();
    assert_eq!(hit.output("restored"), "true");
    let restored = only(&double);
    assert!(restored.starts_with(&format!("{MARKER}\n### fraud: restored\n")), "{restored}");
    assert!(restored.contains(compared), "{restored}");
    next.post(&hit).succeeds();
    assert_eq!((requests(&double, "POST"), requests(&double, "PATCH")), (1, 1));

    next.next_job().main().succeeds();
    assert_eq!(only(&double), restored);
    assert_eq!((requests(&double, "POST"), requests(&double, "PATCH")), (1, 1), "nothing is new");
}

#[test]
fn the_action_save_and_the_command_line_comment_as_well() {
    let double = double();
    let request = pull_request(&double, &trusted("0.93"));
    train(&request, r#"{"auc": 0.94}"#);
    request.step("save").succeeds();
    assert!(only(&double).contains("| auc | 0.94 | 0.93 | +0.01 |"), "{}", only(&double));

    let next = request.next_job();
    next.write("data/b.csv", "id,amount\n2,22\n");
    let (mut command, files) = next.command("", Default::default(), &Default::default());
    let inputs = next.inputs_of();
    let flags = inputs.iter().filter(|(name, _)| *name != "github-token");
    command.args(["run"]).args(flags.map(|(name, value)| format!("--{name}={value}")));
    command.args([
        "--",
        "sh",
        "-c",
        "mkdir models; echo 2 >models/a; echo '{\"auc\":1}' >metrics.json",
    ]);
    let output = command.env("GITHUB_TOKEN", "job").output().unwrap();
    files.read(output.status.code(), &[output.stdout, output.stderr]).succeeds();
    let body = only(&double);
    assert!(body.contains("### fraud: trained\n"), "{body}");
    assert!(body.contains("| auc | 1 | 0.93 | +0.07 |") && body.contains("data/b.csv"), "{body}");
}

#[test]
fn a_comment_of_anybody_else_stays_as_it_is() {
    let double = double();
    let planted = format!("{MARKER}\nplanted");
    for user in [json!("stranger"), Value::Null, json!("hubot")] {
        seed(&double, user, &planted);
    }
    seed(&double, json!("github-actions[bot]"), &format!("quoted: {planted}"));
    let other = "<!-- ml-cache: acme/fraud-detection/fraud-2 -->\nof another model";
    seed(&double, json!("github-actions[bot]"), other);
    let before = comments(&double);
    let mut request = pull_request(&double, &trusted("0.93"));
    whole(&request, r#"{"auc": 0.95}"#).succeeds();
    let after = comments(&double);
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), before.len() + 1);

    // The token of a person takes only that person's comment for its own.
    request.input("github-token", "person");
    request.next_job().main().succeeds();
    let found = comments(&double);
    assert!(found[2].1.contains("### fraud: restored"), "{found:?}");
    for (at, comment) in after.iter().enumerate().filter(|(at, _)| *at != 2) {
        assert_eq!(found[at], *comment);
    }
    assert_eq!(found.len(), after.len());
}

#[test]
fn of_several_comments_the_oldest_is_updated() {
    let double = double();
    for text in ["first", "second"] {
        seed(&double, json!("github-actions[bot]"), &format!("{MARKER}\n{text}"));
    }
    whole(&pull_request(&double, &trusted("0.93")), r#"{"auc": 0.95}"#).succeeds();
    let found = comments(&double);
    assert!(found[0].1.contains("### fraud: saved"), "{found:?}");
    assert_eq!((found.len(), found[1].1.as_str()), (2, &*format!("{MARKER}\nsecond")));
}

#[test]
fn a_lost_answer_makes_no_second_comment() {
    let refused = json!({"status": 502, "body": "<html>"});
    for (action, posts) in [(json!("drop-reply"), 1), (json!("reset"), 2), (refused, 2)] {
        let double = double();
        let request = pull_request(&double, &trusted("0.93"));
        let rule = json!({"method": "POST", "path": "/comments", "nth": 1, "action": action});
        double.control("faults", &json!([rule]));
        let post = whole(&request, r#"{"auc": 0.95}"#);
        post.succeeds();
        assert!(only(&double).contains("### fraud: saved"));
        assert_eq!(requests(&double, "POST"), posts, "{action}");
    }
}

#[test]
fn a_comment_on_a_later_page_is_found() {
    let double = double();
    let many: Vec<Value> = (0..150)
        .map(|it| json!({"repository": REPOSITORY, "number": 7, "body": it.to_string()}))
        .collect();
    double.control("state", &json!({"comments": many}));
    seed(&double, json!("github-actions[bot]"), MARKER);
    whole(&pull_request(&double, &trusted("0.93")), r#"{"auc": 0.95}"#).succeeds();
    let found = comments(&double);
    assert_eq!(found.len(), 151);
    assert!(found[150].1.contains("### fraud: saved"), "{found:?}");
}

#[test]
fn a_refused_model_is_told_with_the_remedy() {
    let double = double();
    let mut request = pull_request(&double, &trusted("0.93"));
    request.input("min-metrics", "auc >= trusted");
    let post = whole(&request, r#"{"auc": 0.9}"#);
    post.fails(1, &["below `min-metrics`"]);
    let body = only(&double);
    assert_eq!(body.trim_end(), format!("{MARKER}\n{}", post.summary).trim_end());
    for told in ["### fraud: failed\n", "auc is 0.9, and the limit is 0.93", "train a better model"]
    {
        assert!(body.contains(told), "{told} is not in {body}");
    }
    whole(&request.next_job(), r#"{"auc": 0.94}"#).succeeds();
    assert!(only(&double).contains("### fraud: saved"));
}

#[test]
fn a_token_without_the_right_is_only_a_warning() {
    let right = "\nhint: add `pull-requests: write` to the `permissions` of the job";
    for rights in [json!({"pull_requests": "read"}), json!({"contents": "read"})] {
        let double = double();
        let request = pull_request(&double, &trusted("0.93"));
        double.control("state", &json!({"tokens": {"job": {"permissions": rights}}}));
        let post = whole(&request, r#"{"auc": 0.95}"#);
        post.succeeds();
        let told = "::warning::pull request #7 has no comment about this run: cannot ";
        assert!(post.log.contains(told), "{}", post.log);
        let log = post.log.replace("%0A", "\n");
        assert!(
            log.contains("answered 403: Resource not accessible") && log.contains(right),
            "{log}"
        );
        assert_eq!(request.next_job().main().output("restored"), "true");
        assert_eq!(comments(&double), []);
    }
}

#[test]
fn a_missing_token_is_told_before_the_training() {
    let double = double();
    let mut request = pull_request(&double, &trusted("0.93"));
    request.input("github-token", "");
    let told = "::warning::`comment` needs a `github-token`, so the pull request gets no comment";
    let main = request.main();
    main.succeeds();
    assert!(main.log.contains(told), "{}", main.log);
    train(&request, r#"{"auc": 0.95}"#);
    let post = request.post(&main);
    post.succeeds();
    assert!(!post.log.contains("comment"), "{}", post.log);
    request.input("comment", "false");
    assert!(!request.next_job().main().log.contains("comment"));
}

#[test]
fn a_fork_gets_a_line_and_a_push_gets_nothing() {
    let double = double();
    let push = trusted("0.93");
    let mut same = pull_request(&double, &push);
    same.write("data/b.csv", "id,amount\n2,20\n");
    for head in ["stranger/fraud-detection", "push"] {
        if head == "push" {
            same.event(&json!({}));
            for (name, value) in [
                ("GITHUB_EVENT_NAME", "push"),
                ("GITHUB_REF", "refs/heads/main"),
                ("GITHUB_HEAD_REF", ""),
                ("GITHUB_BASE_REF", ""),
            ] {
                same.env(name, value);
            }
        } else {
            same.pull_request(head);
        }
        let main = same.main();
        assert_eq!(main.output("restored"), "true", "{}", main.log);
        let told = main.log.contains("\nfraud: a pull request from a fork gets no comment");
        assert_eq!(told, head != "push", "{}", main.log);
        assert_eq!(main.log.matches("comment").count(), usize::from(told), "{}", main.log);
        assert_eq!(double.look("requests"), json!([]));
    }
    same.pull_request("stranger/fraud-detection");
    same.write("data/b.csv", "id,amount\n2,22\n");
    let post = whole(&same, r#"{"auc": 0.95}"#);
    post.succeeds();
    assert!(post.log.contains("a pull request from a fork gets no comment"), "{}", post.log);
    assert_eq!(double.look("requests"), json!([]));
}

#[test]
fn an_action_that_does_not_save_comments_on_nothing() {
    let double = double();
    let mut same = pull_request(&double, &trusted("0.93"));
    same.write("data/b.csv", "id,amount\n2,20\n");
    same.env("INPUT_COMMENT", "true");
    for phase in ["plan", "restore"] {
        let step = same.step(phase);
        step.succeeds();
        assert_eq!(step.output("cache-hit"), "true", "{}", step.log);
        assert!(step.log.contains("`comment` belongs to another action"), "{}", step.log);
    }
    assert_eq!(comments(&double), []);
}

/// Demands that the text is the marker and Markdown that mentions and begins nothing.
#[track_caller]
fn is_harmless(body: &str, marker: &str) {
    let text = body.strip_prefix(marker).unwrap_or_else(|| panic!("{body}"));
    for bad in ["@", "<img", "<!--", "-->", "](x", "\n#", "\n::"] {
        let found = text.replace("\n### ", "");
        assert!(!found.contains(bad), "{bad:?} is in {body}");
    }
}

#[test]
fn hostile_names_break_nothing_and_mention_nobody() {
    let evil = "--><img src=x>@team [a](x)|";
    let double = double();
    let mut push = Runner::new();
    push.input("metrics", "metrics.json");
    push.input("model", evil);
    let metrics = json!({evil: 0.5, "<!-- @acme/team": 0.6}).to_string();
    whole(&push, &metrics).succeeds();
    let request = pull_request(&double, &push);
    whole(&request, &metrics).succeeds();
    let shown = "--%3E%3Cimg%20src%3Dx%3E%40team%20%5Ba%5D%28x%29%7C";
    let marker = &format!("<!-- ml-cache: acme/fraud-detection/{shown} -->");
    is_harmless(&only(&double), marker);
    assert!(only(&double).contains("acme/team"), "{}", only(&double));

    let next = request.next_job();
    next.write("data/b.csv", "id,amount\n2,23\n");
    let main = next.main();
    train(&next, &metrics);
    next.write("data/@team <!-- --> <img src=x>/\n# x", "changed");
    next.post(&main).fails(1, &["nothing was saved"]);
    let body = only(&double);
    assert!(body.contains("failed") && body.contains("data/&#64;"), "{body}");
    is_harmless(&body, marker);
}
