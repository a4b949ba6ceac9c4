//! JSON objects of a request, read field by field. What a client wrote stays the bytes that it wrote until something asks for it.

use crate::{Refused, fields::Fields};
use serde::Deserialize;
use serde_json::value::RawValue;

/// An object and where it stands, such as `messages.0.content.2`.
pub struct Object<'a> {
    fields: Fields<'a>,
    at: String,
}

impl<'a> Object<'a> {
    pub fn read(text: &'a str, at: impl Into<String>) -> Result<Self, Refused> {
        let at = at.into();
        match serde_json::from_str(text) {
            Ok(fields) => Ok(Self { fields, at }),
            Err(error) => Err(wrong(&error, &at)),
        }
    }

    /// Where a field of it stands.
    pub fn at(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// Where it stands itself.
    pub fn place(&self) -> &str {
        &self.at
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name)
    }

    /// As it was written; `null` is absent.
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.get(name)
    }

    /// Errors: it is there and of another type.
    pub fn get<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, Refused> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|error| wrong(&error, &self.at(name)))
    }

    /// Errors: it is missing or of another type.
    pub fn needed<T: Deserialize<'a>>(&self, name: &str) -> Result<T, Refused> {
        self.get(name)?.ok_or_else(|| Refused::invalid("Field required").about(self.at(name)))
    }

    pub fn object(&self, name: &str) -> Result<Option<Object<'a>>, Refused> {
        self.raw(name).map(|raw| Object::read(raw.get(), self.at(name))).transpose()
    }

    /// Of a block: its `type`; empty without one.
    pub fn kind(&self) -> String {
        self.get("type").ok().flatten().unwrap_or_default()
    }
}

/// Content: a text, or blocks.
pub enum Said<'a> {
    Text(String),
    Blocks(Vec<Object<'a>>),
}

impl<'a> Said<'a> {
    /// `None`: there is none.
    pub fn read(object: &Object<'a>, name: &str) -> Result<Option<Self>, Refused> {
        let Some(raw) = object.raw(name) else { return Ok(None) };
        let at = object.at(name);
        let said = match raw.get().as_bytes().first() {
            Some(b'"') => Self::Text(serde_json::from_str(raw.get()).map_err(|error| wrong(&error, &at))?),
            Some(b'[') => {
                let items: Vec<&'a RawValue> =
                    serde_json::from_str(raw.get()).map_err(|error| wrong(&error, &at))?;
                let blocks = items.iter().enumerate();
                let blocks = blocks.map(|(index, item)| Object::read(item.get(), format!("{at}.{index}")));
                Self::Blocks(blocks.collect::<Result<_, _>>()?)
            }
            // One block without the list around it.
            Some(b'{') => Self::Blocks(vec![Object::read(raw.get(), at)?]),
            _ => return Err(Refused::invalid("Input should be a string or a list of blocks").about(at)),
        };
        Ok(Some(said))
    }
}

/// What serde finds wrong, without its place in the field's own text, which tells nobody anything.
fn wrong(error: &serde_json::Error, at: &str) -> Refused {
    let told = error.to_string();
    let told = told.split(" at line ").next().unwrap_or_default();
    let refused = Refused::invalid(format!("Input cannot be read: {told}"));
    if at.is_empty() { refused } else { refused.about(at) }
}
