//! The JSON schema of the configuration file, and its agreement with the program.

use std::fs;
use std::path::Path;

use ml_cache::environment::Environment;
use ml_cache::settings::file::keys::{
    FILE as KEYS, ITEM, Key, Kind, MODEL, MODEL_NAME, NAME, ROLES, TEXT,
};
use ml_cache::settings::{RawInputs, Verb, resolve};
use serde_json::{Map, Value, json};

/// The file of the schema.
pub const FILE: &str = "docs/ml-cache.schema.json";
/// The address of the schema.
const ADDRESS: &str =
    "https://raw.githubusercontent.com/org/ml-cache-action/main/docs/ml-cache.schema.json";

/// Returns the text of the schema, made from the tables of keys.
pub fn text() -> String {
    let mut schema = object(KEYS);
    for (name, value) in [
        ("$schema", json!("http://json-schema.org/draft-07/schema#")),
        ("$id", json!(ADDRESS)),
        ("title", json!("Configuration of ml-cache")),
        ("$comment", json!("Made from the table of keys by tests/it/configuration/schema.rs.")),
        ("definitions", json!({ "model": object(MODEL) })),
    ] {
        schema[name] = value;
    }
    format!("{}\n", serde_json::to_string_pretty(&schema).unwrap())
}

fn object(keys: &[Key]) -> Value {
    let described = |key: &Key| {
        let mut value = schema_of(key);
        value["description"] = json!(key.help);
        (key.name.to_owned(), value)
    };
    let properties: Map<String, Value> = keys.iter().map(described).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn schema_of(key: &Key) -> Value {
    let text = |general: &str| {
        let patterns = [general, key.pattern].into_iter().filter(|pattern| !pattern.is_empty());
        let all: Vec<Value> = patterns.map(|pattern| json!({ "pattern": pattern })).collect();
        json!({ "type": "string", "allOf": all })
    };
    match key.kind {
        Kind::Text => text(TEXT),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::List => {
            json!({ "anyOf": [text(ITEM), { "type": "array", "items": text(ITEM) }] })
        }
        Kind::Table => json!({
            "type": "object",
            "propertyNames": { "pattern": NAME },
            "additionalProperties": { "anyOf": [
                { "type": "string", "pattern": format!("^$|{TEXT}") },
                { "type": ["number", "boolean"] },
            ] },
        }),
        Kind::Roles => object(ROLES),
        // A reference hides its neighbours in this draft.
        Kind::Model => json!({ "allOf": [{ "$ref": "#/definitions/model" }] }),
        Kind::Models => json!({
            "type": "object",
            "propertyNames": { "pattern": MODEL_NAME },
            "additionalProperties": { "$ref": "#/definitions/model" },
        }),
    }
}

/// Numbers that look random and are always the same.
pub struct Dice(pub u64);

impl Dice {
    pub fn throw(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.throw(from.len())]
    }
}

fn good_text(dice: &mut Dice, name: &str) -> Value {
    let texts: &[&str] = match name {
        "store" => &["s3://ml-models/cache", "s3://abc", "file:///srv/models", "s3://a.b-c/x/y"],
        "region" => &["eu-central-1", "us-east-1", "auto"],
        "endpoint-url" => &["https://minio.example", "http://localhost:9000", "https://a.b/c"],
        "namespace" => &["acme/fraud", "a/b.c", "org-1/repo_2"],
        "trusted-refs" => &["release/*", "main", "refs/tags/v2*", "refs/heads/x"],
        "trusted" | "untrusted" | "deploy" => &["arn:aws:iam::123456789012:role/trainer"],
        "max-age" => &["30d", "12h", "1w 2d", "90m", "1d12h", "45s"],
        "metrics" => &["metrics.json", "./out/m.json", "a b.json"],
        "min-metrics" => {
            &["auc >= 0.9", "log loss<1e-3", "auc >= trusted - 0.005", "r2 > -1", "n <= trusted"]
        }
        "working-directory" => &["fraud", "services/fraud", ".", "a b", "./x/"],
        _ => &["data/**", "!data/x", "src/train.py", "*.txt", "a b/c", "models/"],
    };
    json!(dice.pick(texts))
}

fn good(dice: &mut Dice, key: &Key) -> Value {
    match key.kind {
        Kind::Text => good_text(dice, key.name),
        Kind::Boolean => json!(dice.throw(2) == 0),
        Kind::List if dice.throw(3) == 0 => good_text(dice, key.name),
        Kind::List => (0..dice.throw(4)).map(|_| good_text(dice, key.name)).collect(),
        Kind::Table => {
            let values =
                [json!("3.11"), json!(3.11), json!(7), json!(true), json!(""), json!("a b")];
            let names = ["python", "seed", "a b", "x-1", "#c"];
            let entries = names.iter().filter(|_| dice.throw(2) == 0).collect::<Vec<_>>();
            entries
                .into_iter()
                .map(|name| ((*name).to_owned(), dice.pick(&values).clone()))
                .collect()
        }
        Kind::Roles => some(dice, ROLES),
        Kind::Model => some(dice, MODEL),
        Kind::Models => {
            let names = ["fraud", "churn-2", "2024", "a.b", "price model"];
            let count = dice.throw(4);
            names[..count].iter().map(|name| ((*name).to_owned(), some(dice, MODEL))).collect()
        }
    }
}

fn some(dice: &mut Dice, keys: &[Key]) -> Value {
    let chosen: Vec<&Key> = keys.iter().filter(|_| dice.throw(2) == 0).collect();
    chosen.into_iter().map(|key| (key.name.to_owned(), good(dice, key))).collect()
}

/// Returns every place in the document, as a JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| {
            places(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, value)| places(value, &format!("{at}/{index}"), found)),
        _ => {}
    }
}

/// Values that most keys refuse.
fn odd() -> Vec<Value> {
    vec![
        json!(null),
        json!(7),
        json!(1.5),
        json!(false),
        json!([]),
        json!({}),
        json!([[]]),
        json!([null]),
        json!(""),
        json!("   "),
        json!(" a"),
        json!("a\nb"),
        json!("#x"),
        json!("soon"),
        json!("auc => 0.9"),
        json!("auc >= 0.9"),
        json!("auc >= .9"),
        json!("auc >= best"),
        json!("0d"),
        json!("30"),
        json!("gs://bucket/x"),
        json!("just-one"),
        json!("a/../b"),
        json!("a/./b"),
        json!("!"),
        json!("~/x"),
        json!("/absolute/x"),
        json!("a?b"),
        json!({ "data": "x" }),
        json!({ "stroe": "x" }),
        json!(["data/**", 5]),
        json!(format!("{} >= 1", "m".repeat(128))),
        json!(format!("{}  >= 1", "m".repeat(129))),
        json!(format!("auc >= {}", "1".repeat(32))),
        json!(format!("auc >= {}", "1".repeat(33))),
        json!("auc >= 1e99"),
        json!("auc >= 1e-999"),
        json!("auc >= 1e999"),
        json!("auc < trusted + 1E+999"),
        json!("s3://abc/../x"),
        json!("s3://abc/x/."),
        json!("s3://abc/x//y"),
        json!("s3://abc//x/y//"),
        json!("s3://abc/x?y"),
        json!(format!("s3://abc/{}/", "x".repeat(512))),
        json!(format!("s3://abc/{}/", "x".repeat(513))),
        json!("file:///a%20b"),
        json!("file:///a%b"),
    ]
}

/// Makes a document wrong, most of the time.
fn spoil(dice: &mut Dice, document: &mut Value) {
    let mut found = Vec::new();
    places(document, "", &mut found);
    let odd = odd();
    let at = dice.pick(&found).clone();
    let place = document.pointer_mut(&at).unwrap();
    match place {
        Value::Object(map) if dice.throw(2) == 0 => {
            let names = ["stroe", "Data", "", "a=b", "..", "a/b", "data", "models", "<<", "x\ny"];
            map.insert((*dice.pick(&names)).to_owned(), dice.pick(&odd).clone());
        }
        place => *place = dice.pick(&odd).clone(),
    }
}

/// Returns whether the program accepts the file, with its message.
pub fn program_accepts(workspace: &Path, text: &str) -> Result<(), String> {
    fs::write(workspace.join("ml-cache.yml"), text).unwrap();
    let mut raw = RawInputs::default();
    for (name, value) in [("model", "any"), ("store", "file:///x"), ("data-paths", "data/**")] {
        raw.set(name, value);
    }
    let settings = resolve(Verb::Plan, &raw, &Environment::default(), None, workspace);
    settings.map(drop).map_err(|error| error.to_string())
}

/// Returns both opinions about the document if the schema and the program do not agree.
fn difference(
    validator: &jsonschema::Validator,
    workspace: &Path,
    document: &Value,
    text: &str,
) -> Option<String> {
    let program = program_accepts(workspace, text);
    let reasons: Vec<String> =
        validator.iter_errors(document).map(|error| error.to_string()).collect();
    (program.is_ok() != reasons.is_empty()).then(|| format!("{text}\n{program:?}\n{reasons:?}"))
}

#[test]
fn the_schema_and_the_program_agree_about_every_value() {
    let schema: Value = serde_json::from_str(&text()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let place = tempfile::tempdir().unwrap();
    let own = KEYS.iter().map(|key| (key.name, ""));
    let roles = ROLES.iter().map(|key| (key.name, "roles"));
    let keys = own.chain(roles).chain(MODEL.iter().map(|key| (key.name, "models")));
    let mut differing = Vec::new();
    for (key, part) in keys {
        for value in odd() {
            let entry = json!({ key: value });
            let document = match part {
                "roles" => json!({ "roles": entry }),
                "models" => json!({ "models": { "m": entry } }),
                _ => entry,
            };
            let text = document.to_string();
            differing.extend(difference(&validator, place.path(), &document, &text));
        }
    }
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
}

#[test]
fn the_schema_and_the_program_agree() {
    let schema: Value = serde_json::from_str(&text()).unwrap();
    assert!(jsonschema::meta::is_valid(&schema), "the schema is no schema");
    let validator = jsonschema::validator_for(&schema).unwrap();
    let place = tempfile::tempdir().unwrap();
    let (mut good, mut bad, mut differing) = (0, 0, Vec::new());
    for seed in 0..600 {
        let mut dice = Dice(seed);
        let mut document = some(&mut dice, KEYS);
        for _ in 0..dice.throw(3) {
            spoil(&mut dice, &mut document);
        }
        let text = match seed % 2 {
            0 => serde_json::to_string_pretty(&document).unwrap(),
            _ => document.to_string(),
        };
        let is_valid = validator.is_valid(&document);
        differing.extend(difference(&validator, place.path(), &document, &text));
        *if is_valid { &mut good } else { &mut bad } += 1;
    }
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
    assert!(good > 150 && bad > 150, "{good} good and {bad} bad files");
}
