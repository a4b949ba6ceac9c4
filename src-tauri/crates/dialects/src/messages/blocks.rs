//! Blocks of content that stand for text and images, wherever they stand.

use super::object::{Object, Said};
use crate::{Refused, chat::Part};
use std::collections::BTreeSet;

/// What is noted while a request is read.
#[derive(Debug, Default)]
pub struct Notes {
    /// What has no place in chat and was left out.
    pub dropped: BTreeSet<String>,
    /// Where images stand that are addresses of the web.
    pub web_images: Vec<String>,
}

/// The parts that a block becomes. `None`: it is another kind of block.
pub fn parts(block: &Object<'_>, notes: &mut Notes) -> Result<Option<Vec<Part>>, Refused> {
    let parts = match block.kind().as_str() {
        "text" | "" if block.raw("text").is_some() => texts(block.needed("text")?),
        "text" => vec![],
        "image" => vec![image(block, notes)?],
        "document" => document(block, notes)?,
        "search_result" => search_result(block, notes)?,
        "tool_reference" => texts(format!("Tool found: {}", block.needed::<String>("tool_name")?)),
        "container_upload" => {
            return Err(Refused::unsupported(
                "Files by their id (“container_upload”) cannot be had here. Send their text instead.",
            )
            .about(block.place()));
        }
        _ => return Ok(None),
    };
    Ok(Some(parts))
}

/// All of a content that stands for text and images. Other blocks are noted as dropped.
pub fn all_parts(said: Option<Said<'_>>, notes: &mut Notes) -> Result<Vec<Part>, Refused> {
    let blocks = match said {
        None => return Ok(vec![]),
        Some(Said::Text(text)) => return Ok(texts(text)),
        Some(Said::Blocks(blocks)) => blocks,
    };
    let mut all = vec![];
    for block in &blocks {
        match parts(block, notes)? {
            Some(parts) => all.extend(parts),
            None => notes.drop_block(block),
        }
    }
    Ok(all)
}

impl Notes {
    pub fn drop_block(&mut self, block: &Object<'_>) {
        let kind = block.kind();
        self.dropped.insert(if kind.is_empty() { "a block without a type".into() } else { kind });
    }
}

fn texts(text: String) -> Vec<Part> {
    if text.is_empty() { vec![] } else { vec![Part::text(text)] }
}

fn image(block: &Object<'_>, notes: &mut Notes) -> Result<Part, Refused> {
    let at = block.at("source");
    let source = block.object("source")?.ok_or_else(|| Refused::invalid("Field required").about(&at))?;
    match source.kind().as_str() {
        "base64" => {
            let kind: String = source.needed("media_type")?;
            let data: &str = &source.needed::<std::borrow::Cow<'_, str>>("data")?;
            Ok(Part::image(format!("data:{kind};base64,{data}")))
        }
        "url" => {
            let url: String = source.needed("url")?;
            let scheme = url.split(':').next().unwrap_or_default().to_ascii_lowercase();
            match scheme.as_str() {
                "data" => {}
                "http" | "https" => notes.web_images.push(block.place().to_owned()),
                _ => {
                    return Err(Refused::unsupported(
                        "An image has to be sent as base64 data, or as an address that begins with https.",
                    )
                    .about(at));
                }
            }
            Ok(Part::image(url))
        }
        other => Err(Refused::unsupported(format!(
            "An image from a source of the type \"{other}\" cannot be had here. Send it as base64 data."
        ))
        .about(at)),
    }
}

fn document(block: &Object<'_>, notes: &mut Notes) -> Result<Vec<Part>, Refused> {
    let at = block.at("source");
    let source = block.object("source")?.ok_or_else(|| Refused::invalid("Field required").about(&at))?;
    let said = match source.kind().as_str() {
        "text" => texts(source.needed("data")?),
        "content" => all_parts(Said::read(&source, "content")?, notes)?,
        other => {
            let kind: String = source.get("media_type")?.unwrap_or_default();
            let what = if kind == "application/pdf" {
                "A PDF".to_owned()
            } else {
                format!("A document from a source of the type \"{other}\"")
            };
            let message = format!(
                "{what} cannot be read here. Send its text (source type \"text\"), or its pages as images."
            );
            return Err(Refused::unsupported(message).about(at));
        }
    };
    let head = [
        block.get::<String>("title")?.map(|title| format!("Document: {title}")),
        block.get::<String>("context")?,
    ];
    Ok(headed(head, said))
}

fn search_result(block: &Object<'_>, notes: &mut Notes) -> Result<Vec<Part>, Refused> {
    let said = all_parts(Said::read(block, "content")?, notes)?;
    let title: String = block.get("title")?.unwrap_or_default();
    let source: String = block.get("source")?.unwrap_or_default();
    Ok(headed([Some(format!("Search result: {title} ({source})")), None], said))
}

/// A head above the text of some parts, in one part with the first text.
fn headed(head: [Option<String>; 2], mut parts: Vec<Part>) -> Vec<Part> {
    let head: Vec<String> = head.into_iter().flatten().filter(|line| !line.is_empty()).collect();
    if head.is_empty() {
        return parts;
    }
    let head = head.join("\n");
    match parts.first_mut() {
        Some(Part::Text { text }) => *text = format!("{head}\n\n{text}"),
        _ => parts.insert(0, Part::text(head)),
    }
    parts
}
