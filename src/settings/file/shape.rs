//! Compares the tree of the configuration file with the tables of its keys.

use std::collections::BTreeMap;

use super::keys::{self, FILE, Key, Kind, MODEL, ROLES};
use super::place::{Fault, Place};
use super::slips::missing_space;
use super::yaml::{Node, Type, Value};
use crate::fingerprint::patterns::trim;
use crate::settings::INPUTS;
use crate::settings::names::{advice, nearest_of};

/// A value of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) place: Place,
    /// The text of the value; `name=value` in a table.
    pub(super) text: String,
}

/// The values of a part of the file, by key.
pub(super) type Values = BTreeMap<&'static str, Vec<Item>>;

/// The content of the file, with all that has the right form.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) own: Values,
    pub(super) roles: Values,
    pub(super) defaults: Values,
    /// The models, in the order of the file.
    pub(super) models: Vec<(Item, Values)>,
}

/// Reads the content of the file, and notes everything that has not the right form.
pub(super) fn read(root: Option<&Node>, faults: &mut Vec<Fault>) -> Content {
    let mut reader = Shape { faults };
    let Some(root) = root else {
        let place = Place { line: 1, column: 1 };
        reader.fault(place, format!("the file is empty; accepted: {}", accepted(FILE)));
        return Content::default();
    };
    let mut content = Content::default();
    for (key, value) in reader.keys(root, FILE, "the file") {
        match key.kind {
            Kind::Roles => {
                for (role, value) in reader.keys(value, ROLES, "`roles`") {
                    reader.value(role, value, &mut content.roles);
                }
            }
            Kind::Model => content.defaults = reader.model(value, "`defaults`"),
            Kind::Models => {
                for (name, value) in reader.names(value, "`models`", "models by their names") {
                    let model = reader.model(value, &format!("the model `{}`", name.text));
                    content.models.push((name, model));
                }
            }
            _ => reader.value(key, value, &mut content.own),
        }
    }
    content
}

struct Shape<'a> {
    faults: &'a mut Vec<Fault>,
}

impl Shape<'_> {
    fn fault(&mut self, place: Place, text: String) {
        self.faults.push(Fault { place, text });
    }

    fn model(&mut self, node: &Node, what: &str) -> Values {
        let mut values = Values::new();
        for (key, value) in self.keys(node, MODEL, what) {
            self.value(key, value, &mut values);
        }
        values
    }

    /// Returns the entries of a map whose keys a table lists.
    fn keys<'n>(
        &mut self,
        node: &'n Node,
        table: &'static [Key],
        what: &str,
    ) -> Vec<(&'static Key, &'n Node)> {
        let mut found: Vec<(&'static Key, &Node)> = Vec::new();
        for (name, value) in self.names(node, what, &accepted(table)) {
            match keys::find(table, &name.text) {
                // The parser has noted a second key of the same name.
                Some(key) if found.iter().any(|(other, _)| other.name == key.name) => {}
                Some(key) => found.push((key, value)),
                None => self.unknown(&name, table, what),
            }
        }
        found
    }

    fn unknown(&mut self, name: &Item, table: &'static [Key], what: &str) {
        let advice = match name.text.as_str() {
            "<<" => "write the values in each place".to_owned(),
            text => advice_for(text, table),
        };
        let text =
            format!("{what} has no key `{}`: {advice}; accepted: {}", name.text, accepted(table));
        self.fault(name.place, text);
    }

    /// Returns the entries of a map.
    fn names<'n>(&mut self, node: &'n Node, what: &str, accepted: &str) -> Vec<(Item, &'n Node)> {
        let Value::Map(pairs) = &node.value else {
            self.fault(node.place, no_map(node, what, accepted));
            return Vec::new();
        };
        let mut found = Vec::new();
        for (key, value) in pairs {
            match &key.value {
                Value::Scalar { text, .. } if key.type_of() != Type::Null => {
                    found.push((Item { place: key.place, text: text.clone() }, value));
                }
                _ => {
                    let is = key.form();
                    let text = format!("a key of {what} is {is}, not a name; accepted: {accepted}");
                    self.fault(key.place, text);
                }
            }
        }
        found
    }

    /// Reads the value of a key that holds texts.
    fn value(&mut self, key: &'static Key, node: &Node, values: &mut Values) {
        let name = format!("`{}`", key.name);
        let items = match (key.kind, &node.value) {
            (Kind::Table, _) => self.table(&name, node),
            (Kind::List, Value::List(items)) => {
                items.iter().filter_map(|item| self.item(key, item, true)).collect()
            }
            (Kind::List, _) => self.item(key, node, false).into_iter().collect(),
            (Kind::Boolean, _) => self.boolean(&name, node).into_iter().collect(),
            _ => self.text(&name, node, key, "a text").into_iter().collect(),
        };
        values.insert(key.name, items);
    }

    fn table(&mut self, name: &str, node: &Node) -> Vec<Item> {
        const ACCEPTED: &str = "a map such as `{ python: \"3.11\" }`";
        let mut items = Vec::new();
        for (key, value) in self.names(node, name, ACCEPTED) {
            let place = value.place;
            if key.text.is_empty() || is_loose(&key.text) || key.text.contains('=') {
                let text = format!("`{}` is no name for a value; accepted: {ACCEPTED}", key.text);
                self.fault(key.place, text);
                continue;
            }
            let name = format!("{name}: `{}`", key.text);
            let text = match &value.value {
                Value::Scalar { text, .. } if value.type_of() != Type::Null => text,
                _ => {
                    let is = value.form();
                    self.fault(place, format!("{name} is {is}, not a value; accepted: {ACCEPTED}"));
                    continue;
                }
            };
            if is_loose(text) {
                self.fault(place, format!("{name} {LOOSE}"));
                continue;
            }
            items.push(Item { place, text: format!("{}={text}", key.text) });
        }
        items
    }

    /// Reads a text of a list of patterns or refs, or the text that stands in place of a list.
    fn item(&mut self, key: &Key, node: &Node, is_in_list: bool) -> Option<Item> {
        let name = format!("`{}`", key.name);
        let item = match is_in_list {
            true => self.text(&format!("an item of {name}"), node, key, "a text")?,
            false => self.text(&name, node, key, "a list of texts")?,
        };
        if item.text.starts_with('#') {
            let text = format!("{name}: `{}` starts with `#`, as a comment does", item.text);
            self.fault(node.place, text);
            return None;
        }
        Some(item)
    }

    fn boolean(&mut self, name: &str, node: &Node) -> Option<Item> {
        match &node.value {
            Value::Scalar { text, .. } if node.type_of() == Type::Boolean => {
                Some(Item { place: node.place, text: text.to_lowercase() })
            }
            _ => {
                let is = node.form();
                let text = format!("{name} is {is}, not a boolean; accepted: `true` or `false`");
                self.fault(node.place, text);
                None
            }
        }
    }

    fn text(&mut self, name: &str, node: &Node, key: &Key, form: &str) -> Option<Item> {
        let accepted = if key.form.is_empty() { form } else { key.form };
        let Value::Scalar { text, .. } = &node.value else {
            let is = node.form();
            self.fault(node.place, format!("{name} is {is}; accepted: {accepted}"));
            return None;
        };
        let reason = match node.type_of() {
            Type::Null => format!("{name} has no value; accepted: {accepted}"),
            Type::Boolean | Type::Number if !key.form.is_empty() => {
                format!("{name} is {}; accepted: {accepted}", node.form())
            }
            Type::Boolean | Type::Number => {
                let is = node.form();
                format!("{name} is {is}; accepted: {accepted}, in quotes if need be: \"{text}\"")
            }
            Type::Text if text.is_empty() => format!("{name} is empty; accepted: {accepted}"),
            Type::Text if is_loose(text) && key.kind == Kind::List => {
                format!("{name} {LOOSE}, and a list for several texts")
            }
            Type::Text if is_loose(text) => format!("{name} {LOOSE}"),
            Type::Text => return Some(Item { place: node.place, text: text.clone() }),
        };
        self.fault(node.place, reason);
        None
    }
}

const LOOSE: &str =
    "begins or ends with a space, or has several lines; accepted: a text on one line";

fn no_map(node: &Node, what: &str, accepted: &str) -> String {
    let is = node.form();
    match &node.value {
        Value::Scalar { text, is_plain: true } if missing_space(text).is_some() => {
            format!("{what} is {is}, not a map, because a space is missing after `:`")
        }
        _ => {
            let empty = match (node.type_of(), what.strip_prefix("the model `")) {
                (Type::Null, Some(name)) => {
                    format!(
                        "; write `{}: {{}}` for a model without keys",
                        name.trim_end_matches('`')
                    )
                }
                (Type::Null, None) if what == "`models`" => {
                    "; write `models: {}` for a file without models".to_owned()
                }
                _ => String::new(),
            };
            format!("{what} is {is}, not a map{empty}; accepted: {accepted}")
        }
    }
}

/// Returns whether an input would lose a part of the text.
fn is_loose(text: &str) -> bool {
    trim(text) != text || text.contains(['\n', '\r'])
}

/// Returns the advice to a user who expects a key in a part of the file that has no such key.
fn advice_for(name: &str, table: &'static [Key]) -> String {
    const PARTS: [(&[Key], &str); 3] =
        [(FILE, "the top of the file"), (ROLES, "`roles`"), (MODEL, "a model")];
    let is_here = |key: &Key| keys::find(table, key.name).is_some();
    let of_key = PARTS.iter().find(|(keys, _)| keys::find(keys, name).is_some());
    let of_input = || {
        let all = PARTS.iter().flat_map(|(keys, place)| keys.iter().map(move |key| (key, place)));
        all.into_iter().find(|(key, _)| key.input == name && !is_here(key))
    };
    if let Some((_, place)) = of_key {
        return format!("it belongs to {place}");
    }
    if let Some((key, place)) = of_input() {
        return format!("it belongs to {place}, as `{}`", key.name);
    }
    if let Some(advice) = advice_in_file(name) {
        return advice;
    }
    let near = nearest_of(name, table.iter().map(|key| key.name));
    match near.or_else(|| input_of(name, table)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if INPUTS.iter().any(|input| input.name == name) => {
            "it is an input; give it to the step".to_owned()
        }
        None => "remove it".to_owned(),
    }
}

/// Returns the advice about a key of another tool, with the names of keys in place of inputs.
fn advice_in_file(name: &str) -> Option<String> {
    let mut text = advice(name)?.to_owned();
    for key in FILE.iter().chain(MODEL).filter(|key| !key.input.is_empty()) {
        text = text.replace(&format!("`{}`", key.input), &format!("`{}`", key.name));
    }
    let is_input = |name: &str| {
        let is_key = keys::find(FILE, name).or_else(|| keys::find(MODEL, name)).is_some();
        !is_key && INPUTS.iter().any(|input| input.name == name)
    };
    Some(match text.split('`').skip(1).step_by(2).any(is_input) {
        true => format!("it belongs to the inputs of the step; {text}"),
        false => text,
    })
}

/// Returns the key that has the meaning of an input, in case the user took the input's name.
fn input_of(name: &str, table: &'static [Key]) -> Option<&'static str> {
    let input = nearest_of(name, table.iter().map(|key| key.input))?;
    table.iter().find(|key| !input.is_empty() && key.input == input).map(|key| key.name)
}

fn accepted(table: &[Key]) -> String {
    let names: Vec<String> = table.iter().map(|key| format!("`{}`", key.name)).collect();
    names.join(", ")
}
