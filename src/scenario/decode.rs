//! Decodes nodes into typed values by serde, and collects every error instead of the first.
//!
//! Each step, observation, actor and entry of the world is decoded by itself, and unknown keys do not
//! end the decoding, so that one `nsharness check` shows the whole of what is to mend. The values
//! decoded along the way are dropped when there was any error.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, Unexpected, Visitor};

use super::yaml::{Kind, Node};
use crate::diag::{Diagnostic, Source, did_you_mean};

/// Where errors of one file are collected.
pub struct Errors {
    source: Arc<Source>,
    found: RefCell<Vec<Diagnostic>>,
    /// Places whose value is not known because of an error that was reported.
    spoiled: RefCell<Vec<Range<usize>>>,
    /// How many bytes the substitution of case variables may still make.
    room: Cell<usize>,
    /// Keys that may stand beside those of the struct being decoded, for suggestions.
    beside: Cell<&'static [&'static str]>,
}

/// More errors than this of one file help nobody.
const MAX_ERRORS: usize = 100;
/// Most bytes that the cases of one file may come to.
const MAX_SUBSTITUTED: usize = 32 << 20;

impl Errors {
    /// No errors yet.
    pub fn new(source: &Arc<Source>) -> Self {
        Self {
            source: Arc::clone(source),
            found: RefCell::default(),
            spoiled: RefCell::default(),
            room: Cell::new(MAX_SUBSTITUTED),
            beside: Cell::new(&[]),
        }
    }

    /// Adds one, unless the same was said of the same place: each case decodes the file anew.
    pub fn push(&self, diagnostic: Diagnostic) {
        let mut found = self.found.borrow_mut();
        let known =
            found.iter().any(|d| d.span == diagnostic.span && d.message == diagnostic.message);
        let spoiled = self.spoiled.borrow();
        let follows = diagnostic.span.as_ref().is_some_and(|span| spoiled.contains(span));
        if !known && !follows && found.len() < MAX_ERRORS {
            found.push(diagnostic);
        }
    }

    /// Adds one about a part of the file.
    pub fn at(&self, span: &Range<usize>, message: impl Into<String>) -> ErrorAt<'_> {
        ErrorAt {
            errors: self,
            diagnostic: Some(Diagnostic::at(&self.source, span.clone(), message)),
        }
    }

    /// Says that what is decoded at a place is not what the author wrote: errors there only follow.
    pub fn spoil(&self, span: &Range<usize>) {
        self.spoiled.borrow_mut().push(span.clone());
    }

    /// Takes the size of a node from what substitution may make; too much is an error, once.
    pub fn take_room(&self, node: &Node) {
        let size = 64 + node.text().map_or(0, str::len);
        if self.has_room() && size > self.room.get() {
            let message =
                format!("the cases of this file come to more than {} MiB", MAX_SUBSTITUTED >> 20);
            self.at(&node.span, message).hint("divide the file, or use fewer cases");
            self.room.set(0);
        } else {
            self.room.set(self.room.get().saturating_sub(size));
        }
    }

    /// Whether substitution may go on.
    pub fn has_room(&self) -> bool {
        self.room.get() > 0
    }

    /// Decodes a step whose shared fields were taken out: they are among the keys that are suggested.
    pub fn decode_step<'n, T: de::Deserialize<'n>>(
        &'n self,
        node: &'n Node,
        shared: &'static [&'static str],
    ) -> Option<T> {
        self.beside.set(shared);
        let step = self.decode(node);
        self.beside.set(&[]);
        step
    }

    /// The source that the errors are about.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// All that was found, in the order of the file.
    pub fn into_sorted(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|d| d.span.as_ref().map(|s| s.start));
        found
    }

    /// Adds an error for each key of a mapping that is not one of these.
    pub fn known_keys(&self, node: &Node, keys: &[&str]) {
        for (key, _) in node.entries() {
            let word = key.text().unwrap_or_default();
            if !keys.contains(&word) {
                self.at(&key.span, format!("unknown key `{}`", word.escape_debug()))
                    .choices(word, keys.iter().copied());
            }
        }
    }

    /// The entries of a mapping; anything else is an error and gives none.
    pub fn mapping<'n>(&self, node: Option<&'n Node>, expected: &str) -> &'n [(Node, Node)] {
        let Some(node) = node else { return &[] };
        if !matches!(node.kind, Kind::Mapping(_)) {
            self.at(&node.span, format!("wrong type: expected {expected}"))
                .label(format!("this is {}", node.describe()));
        }
        node.entries()
    }

    /// The items of a list; anything else is an error and gives none.
    pub fn list<'n>(&self, node: Option<&'n Node>, expected: &str) -> &'n [Node] {
        let Some(node) = node else { return &[] };
        if !matches!(node.kind, Kind::Sequence(_)) {
            self.at(&node.span, format!("wrong type: expected {expected}"))
                .label(format!("this is {}", node.describe()));
        }
        node.items()
    }

    /// Decodes a node; what is wrong is added to the errors and gives `None`.
    pub fn decode<'n, T: de::Deserialize<'n>>(&'n self, node: &'n Node) -> Option<T> {
        match T::deserialize(Decoder { node, errors: self }) {
            Ok(value) => Some(value),
            Err(error) => {
                error.report(self, &node.span);
                None
            }
        }
    }
}

/// A diagnostic in the making; it is added when it goes out of scope.
pub struct ErrorAt<'e> {
    errors: &'e Errors,
    diagnostic: Option<Diagnostic>,
}

impl ErrorAt<'_> {
    /// Adds the text beside the caret.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.diagnostic = self.diagnostic.take().map(|d| d.label(label));
        self
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.diagnostic = self.diagnostic.take().map(|d| d.hint(hint));
        self
    }

    /// Adds the nearest of the words that were possible, or lists them.
    pub fn choices<'a>(self, word: &str, choices: impl IntoIterator<Item = &'a str>) -> Self {
        match choose(word, &choices.into_iter().collect::<Vec<_>>()) {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }
}

impl Drop for ErrorAt<'_> {
    fn drop(&mut self) {
        if let Some(diagnostic) = self.diagnostic.take() {
            self.errors.push(diagnostic);
        }
    }
}

fn choose(word: &str, choices: &[&str]) -> Option<String> {
    if word == "<<" {
        return Some("merge keys are not part of the language".to_owned());
    }
    if let Some(near) = did_you_mean(word, choices.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    match choices {
        [] => None,
        [only] => Some(format!("expected `{only}`")),
        many => Some(format!("expected one of {}", many.join(", "))),
    }
}

/// What serde and the leaf types of the language say is wrong.
///
/// A leaf type's message may have a second line: it becomes the hint.
#[derive(Debug)]
pub struct Error {
    span: Option<Range<usize>>,
    message: String,
    label: String,
    hint: Option<String>,
}

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Self { span: None, message: message.into(), label: String::new(), hint: None }
    }

    fn or_span(mut self, span: &Range<usize>) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }

    fn report(self, errors: &Errors, span: &Range<usize>) {
        let error = self.or_span(span);
        let span = error.span.unwrap_or(0..0);
        let mut diagnostic = Diagnostic::at(&errors.source, span, error.message).label(error.label);
        diagnostic.hint = error.hint;
        errors.push(diagnostic);
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        let (message, hint) = match text.split_once('\n') {
            Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
            None => (text, None),
        };
        Self { hint, ..Self::new(message) }
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let mut error = Self::new(format!("wrong type: expected {expected}"));
        error.label = format!("this is {unexpected}");
        error
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Self {
        Self::new(format!("expected {expected}, found {length} items"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self { hint: choose(variant, expected), ..Self::new(format!("unknown word `{variant}`")) }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self { hint: choose(field, expected), ..Self::new(format!("unknown key `{field}`")) }
    }

    fn missing_field(field: &'static str) -> Self {
        let mut error = Self::new(format!("`{field}` is missing"));
        error.label = format!("needs `{field}:`");
        error
    }
}

/// serde's view of one node.
#[derive(Clone, Copy)]
pub struct Decoder<'n> {
    node: &'n Node,
    errors: &'n Errors,
}

impl<'n> Decoder<'n> {
    fn text(self, expected: &str) -> Result<&'n str, Error> {
        if self.node.is_absent() {
            let mut error = Error::new("a value is missing").or_span(&self.node.span);
            error.label = format!("expected {expected}");
            return Err(error);
        }
        self.node.text().ok_or_else(|| self.wrong_type(expected))
    }

    fn wrong_type(self, expected: &str) -> Error {
        let mut error =
            Error::new(format!("wrong type: expected {expected}")).or_span(&self.node.span);
        error.label = format!("this is {}", self.node.describe());
        error
    }

    fn number<T: std::str::FromStr>(
        self,
        least: impl Into<i128>,
        most: impl Into<i128>,
    ) -> Result<T, Error> {
        let text = self.text("a whole number")?;
        let expected = format!("a whole decimal number from {} to {}", least.into(), most.into());
        text.parse().map_err(|_| self.wrong_type(&expected))
    }

    fn at(self, node: &'n Node) -> Self {
        Self { node, ..self }
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.number::<$type>(<$type>::MIN, <$type>::MAX)?).map_err(|e: Error| e.or_span(&self.node.span))
        }
    )*};
}

impl<'de> Deserializer<'de> for Decoder<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Scalar { .. } => self.deserialize_str(visitor),
            Kind::Sequence(_) => self.deserialize_seq(visitor),
            Kind::Mapping(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text("true or false")? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    numbers!(
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64
    );

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.text("a text")?;
        visitor.visit_str(text).map_err(|e: Error| e.or_span(&self.node.span))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Kind::Sequence(items) = &self.node.kind else {
            return Err(self.wrong_type("a list"));
        };
        visitor.visit_seq(Items { items: items.iter(), decoder: self })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Sequence(items) if items.len() == len => {
                visitor.visit_seq(Items { items: items.iter(), decoder: self })
            }
            _ => Err(self.wrong_type(&format!("a list of {len} items"))),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Kind::Mapping(entries) = &self.node.kind else {
            return Err(self.wrong_type("a mapping"));
        };
        let entries: Vec<_> = entries.iter().collect();
        visitor
            .visit_map(Entries { entries: entries.into_iter(), value: None, decoder: self })
            .map_err(|e: Error| e.or_span(&self.node.span))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Kind::Mapping(entries) = &self.node.kind else {
            return Err(self.wrong_type(&format!("a mapping with {}", fields.join(", "))));
        };
        let mut known = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = entry.0.text().unwrap_or_default();
            if fields.contains(&key) {
                known.push(entry);
            } else {
                self.errors
                    .at(&entry.0.span, format!("unknown key `{}`", key.escape_debug()))
                    .choices(key, fields.iter().chain(self.errors.beside.get()).copied());
            }
        }
        visitor
            .visit_map(Entries { entries: known.into_iter(), value: None, decoder: self })
            .map_err(|e: Error| e.or_span(&self.node.span))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Scalar { .. } => {
                let text = self.text(&format!("one of {}", variants.join(", ")))?;
                let unit: StrDeserializer<'_, Error> =
                    de::IntoDeserializer::into_deserializer(text);
                visitor.visit_enum(unit).map_err(|e| e.or_span(&self.node.span))
            }
            Kind::Mapping(entries) => match entries.as_slice() {
                [entry] => {
                    let access =
                        Entries { entries: vec![entry].into_iter(), value: None, decoder: self };
                    visitor
                        .visit_enum(MapAccessDeserializer::new(access))
                        .map_err(|e: Error| e.or_span(&entry.0.span))
                }
                _ => {
                    let mut error = self.wrong_type("a mapping with one key");
                    error.label = format!("this has {} keys", entries.len());
                    Err(error)
                }
            },
            Kind::Sequence(_) => Err(self.wrong_type("one word, or a mapping with one key")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        f32 f64 char bytes byte_buf unit unit_struct tuple_struct identifier i128 u128
    }
}

struct Items<'n> {
    items: std::slice::Iter<'n, Node>,
    decoder: Decoder<'n>,
}

impl<'n> de::SeqAccess<'n> for Items<'n> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'n>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(node) = self.items.next() else { return Ok(None) };
        seed.deserialize(self.decoder.at(node)).map(Some).map_err(|e| e.or_span(&node.span))
    }
}

struct Entries<'n> {
    entries: std::vec::IntoIter<&'n (Node, Node)>,
    value: Option<&'n Node>,
    decoder: Decoder<'n>,
}

impl<'n> de::MapAccess<'n> for Entries<'n> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'n>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(self.decoder.at(key)).map(Some).map_err(|e| e.or_span(&key.span))
    }

    fn next_value_seed<V: DeserializeSeed<'n>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(value) = self.value.take() else {
            return Err(Error::new("a value was read before its key"));
        };
        seed.deserialize(self.decoder.at(value)).map_err(|e| e.or_span(&value.span))
    }
}
