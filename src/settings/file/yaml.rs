//! Reads YAML into a tree whose nodes know their places.
//!
//! Each scalar keeps its text as it is written: `3.10` does not become the number 3.1. Anchors,
//! aliases and tags are refused before, so that a value stands where a person looks for it.

use std::collections::{BTreeSet, HashMap};

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::TScalarStyle;

use super::place::{Fault, Place, place};
use super::slips;

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A text, and whether it is written without quotes.
    Scalar {
        text: String,
        is_plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// The type of a scalar by the core schema of YAML 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Boolean,
    Number,
    Text,
}

impl Node {
    /// Returns the name of the node's form for messages.
    pub(super) fn form(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Scalar { .. } => match self.type_of() {
                Type::Null => "empty",
                Type::Boolean => "a boolean",
                Type::Number => "a number",
                Type::Text => "a text",
            },
        }
    }

    /// Returns the type of a scalar. Lists and maps count as texts.
    pub(super) fn type_of(&self) -> Type {
        match &self.value {
            Value::Scalar { text, is_plain: true } => type_of(text),
            _ => Type::Text,
        }
    }
}

fn type_of(text: &str) -> Type {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Type::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Type::Boolean,
        ".nan" | ".NaN" | ".NAN" => return Type::Number,
        _ => {}
    }
    let of_base = |prefix: &str, base: u32| {
        let digits = text.strip_prefix(prefix);
        digits.is_some_and(|it| !it.is_empty() && it.chars().all(|c| c.is_digit(base)))
    };
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_infinite = [".inf", ".Inf", ".INF"].contains(&unsigned);
    // The parser of floats also takes words, such as `inf`.
    let is_decimal = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.parse::<f64>().is_ok();
    match of_base("0o", 8) || of_base("0x", 16) || is_infinite || is_decimal {
        true => Type::Number,
        false => Type::Text,
    }
}

/// Lists and maps inside one another. The file needs four.
const MAX_DEPTH: usize = 8;

/// Reads a text that holds a single document. Returns no tree after an error of the syntax, and for
/// a document without content.
pub(super) fn parse(text: &str) -> (Option<Node>, Vec<Fault>) {
    if let Some(fault) = odd_character(text) {
        return (None, vec![fault]);
    }
    let mut slips = slips::mend(text, MAX_DEPTH);
    let faults = std::mem::take(&mut slips.faults);
    let spoilt = std::mem::take(&mut slips.spoilt);
    let mut tree = Tree { faults, spoilt, ..Tree::default() };
    let mut parser = Parser::new_from_str(&slips.text);
    loop {
        let (event, marker) = match parser.next_token() {
            Ok(next) => next,
            Err(error) => {
                tree.faults.extend(slips.explain(&error));
                return (None, tree.faults);
            }
        };
        match event {
            Event::StreamEnd => return (tree.root, tree.faults),
            Event::DocumentStart if tree.documents > 0 => {
                tree.fault(
                    place(&marker),
                    "a second document begins here, and a file has only one",
                );
                return (None, tree.faults);
            }
            Event::DocumentStart => tree.documents += 1,
            event => {
                if !tree.take(event, place(&marker)) {
                    return (None, tree.faults);
                }
            }
        }
    }
}

/// Finds a control character. The parser takes some of them for the end of the file.
fn odd_character(text: &str) -> Option<Fault> {
    let is_odd = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    let at = text.find(is_odd)?;
    let text = &text[..at + 1];
    Some(Fault { place: end_of(text), text: "a control character stands here".to_owned() })
}

/// Returns the place of the last character.
pub(super) fn end_of(text: &str) -> Place {
    let line = text.rsplit('\n').next().unwrap_or_default();
    Place { line: text.matches('\n').count() + 1, column: line.chars().count().max(1) }
}

/// The tree while it grows.
#[derive(Default)]
struct Tree {
    documents: usize,
    root: Option<Node>,
    /// The lists and maps that are open, the innermost last.
    open: Vec<Open>,
    faults: Vec<Fault>,
    /// The places of scalars that have a fault, and whose text means nothing.
    spoilt: BTreeSet<Place>,
}

struct Open {
    node: Node,
    /// The key of a map that waits for its value.
    key: Option<Node>,
    /// The lines of the keys of a map.
    keys: HashMap<String, usize>,
}

impl Tree {
    fn fault(&mut self, place: Place, text: &str) {
        self.faults.push(Fault { place, text: text.to_owned() });
    }

    /// Takes an event. Returns false if the rest cannot be read.
    fn take(&mut self, event: Event, place: Place) -> bool {
        match event {
            Event::Scalar(..) if self.spoilt.contains(&place) => {
                self.add(Node { place, value: Value::List(Vec::new()) });
            }
            Event::Scalar(text, style, ..) => {
                let is_plain = style == TScalarStyle::Plain;
                self.add(Node { place, value: Value::Scalar { text, is_plain } });
            }
            Event::SequenceStart(..) => return self.enter(place, Value::List(Vec::new())),
            Event::MappingStart(..) => return self.enter(place, Value::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(closed) = self.open.pop() {
                    self.add(closed.node);
                }
            }
            _ => {}
        }
        true
    }

    fn enter(&mut self, place: Place, value: Value) -> bool {
        if self.open.len() >= MAX_DEPTH {
            self.fault(place, "lists and maps lie too deep in one another here");
            return false;
        }
        self.open.push(Open { node: Node { place, value }, key: None, keys: HashMap::new() });
        true
    }

    fn add(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(pairs) => match open.key.take() {
                // The parser places what is not there behind it, at the next token.
                Some(key) if node.is_text("") && node.type_of() == Type::Null => {
                    pairs.push((key.clone(), Node { place: key.place, ..node }));
                }
                Some(key) => pairs.push((key, node)),
                None => {
                    if let Value::Scalar { text, .. } = &node.value {
                        if let Some(line) = open.keys.get(text) {
                            let text = format!("`{text}` appears twice, first on line {line}");
                            self.faults.push(Fault { place: node.place, text });
                        } else {
                            open.keys.insert(text.clone(), node.place.line);
                        }
                    }
                    open.key = Some(node);
                }
            },
            Value::Scalar { .. } => {}
        }
    }
}

impl Node {
    fn is_text(&self, wanted: &str) -> bool {
        matches!(&self.value, Value::Scalar { text, .. } if text == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let told =
            |fault: &Fault| format!("{}:{} {}", fault.place.line, fault.place.column, fault.text);
        parse(text).1.iter().map(told).collect()
    }

    #[test]
    fn a_scalar_keeps_its_text_and_knows_its_place() {
        let (root, faults) = parse("# first\nextra:\n  python: 3.10\n  seed: \"007\"\n");
        assert_eq!(faults, []);
        let Value::Map(pairs) = root.unwrap().value else { panic!() };
        let Value::Map(extra) = &pairs[0].1.value else { panic!() };
        let found: Vec<(&Place, &Value)> =
            extra.iter().map(|(_, node)| (&node.place, &node.value)).collect();
        let scalar = |text: &str, is_plain| Value::Scalar { text: text.to_owned(), is_plain };
        assert_eq!(
            found,
            [
                (&Place { line: 3, column: 11 }, &scalar("3.10", true)),
                (&Place { line: 4, column: 9 }, &scalar("007", false)),
            ]
        );
    }

    #[test]
    fn types_follow_the_core_schema() {
        for (text, wanted) in [
            ("", Type::Null),
            ("~", Type::Null),
            ("null", Type::Null),
            ("nul", Type::Text),
            ("true", Type::Boolean),
            ("False", Type::Boolean),
            ("yes", Type::Text),
            ("12", Type::Number),
            ("-1.5e3", Type::Number),
            ("0x1f", Type::Number),
            ("0o17", Type::Number),
            (".5", Type::Number),
            (".inf", Type::Number),
            ("3.11", Type::Number),
            ("inf", Type::Text),
            ("3.11.2", Type::Text),
            ("30d", Type::Text),
            (".", Type::Text),
            ("-", Type::Text),
        ] {
            assert_eq!(type_of(text), wanted, "{text}");
        }
    }

    #[test]
    fn each_odd_form_has_its_place() {
        for (text, wanted) in [
            ("a: 1\nb: 2\na: 3\n", "3:1 `a` appears twice, first on line 1"),
            ("a: &x 1\n", "1:4 the value has an anchor, which is not accepted; leave it out"),
            ("a: !!str 1\n", "1:4 the value has a tag, which is not accepted; leave it out"),
            ("a: 1\n---\nb: 2\n", "2:1 a second document begins here"),
            ("a: 1\u{0}b: 2\n", "1:5 a control character stands here"),
            ("a: [1\nb: 2\n", "1:4 the bracket `[` is never closed"),
            ("a:\n\tb: 1\n", "it is not YAML"),
            ("a: *x\n", "1:4 a pattern that begins with `*` needs quotes"),
            ("[[[[[[[[[[1]]]]]]]]]]", "1:9 lists and maps lie too deep in one another here"),
        ] {
            let found = faults(text);
            assert!(found.iter().any(|it| it.contains(wanted)), "{text:?}: {found:?}");
        }
        let both = faults("a: &x 1\nb: *x\n");
        assert!(both.len() == 2 && both[1].starts_with("2:4 an alias"), "{both:?}");
        assert_eq!(parse("# nothing\n"), (None, Vec::new()));
    }

    #[test]
    fn no_text_keeps_the_reader_busy() {
        let size = 256 << 10;
        let began = std::time::Instant::now();
        for unit in [
            "[",
            "{",
            "- ",
            "? ",
            "a: ",
            "a: {",
            "'",
            "\"",
            "&a ",
            "!a ",
            "a\n",
            "a: 1\n",
            ": ",
            "#",
            "|\n",
            "- a: b\n  ",
            "%",
            "\u{feff}",
            "[a, ",
            "[a: ",
        ] {
            drop(parse(&unit.repeat(size / unit.len())));
        }
        assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    }
}
