//! What the pipeline found in a record. Apart from the way of other records, which have nothing of it.

use std::io::{self, Write};

use serde_json::Value;

use crate::pipeline::record::Attributes;
use crate::sinks::{json as text, logfmt as pairs};

/// Appends members of an object, each after a comma.
#[cold]
pub(super) fn json(attributes: &Attributes, out: &mut Vec<u8>) -> io::Result<()> {
    if let Some(level) = attributes.level {
        write!(out, ",\"level\":\"{}\"", level.as_str())?;
    }
    let mut separator: &[u8] = b",\"fields\":{";
    for (name, value) in fields(attributes) {
        out.extend_from_slice(separator);
        text::string(name.as_bytes(), out);
        out.push(b':');
        serde_json::to_writer(&mut *out, value)?;
        separator = b",";
    }
    if separator == b"," {
        out.push(b'}');
    }
    if let Some(writer) = &attributes.writer {
        write!(out, ",\"pid\":{},\"uid\":{},\"comm\":", writer.pid, writer.uid)?;
        text::string(writer.command_bytes(), out);
    }
    Ok(())
}

/// Appends pairs. The level is the caller's, who has it before the message.
#[cold]
pub(super) fn logfmt(attributes: &Attributes, out: &mut Vec<u8>) -> io::Result<()> {
    let mut key = String::from("fields.");
    for (name, value) in fields(attributes) {
        key.truncate("fields.".len());
        key.push_str(name);
        match value {
            Value::String(value) => pairs::pair(&key, value.as_bytes(), out),
            value => pairs::pair(&key, value.to_string().as_bytes(), out),
        };
    }
    if let Some(writer) = &attributes.writer {
        write!(out, " pid={} uid={}", writer.pid, writer.uid)?;
        pairs::pair("comm", writer.command_bytes(), out);
    }
    Ok(())
}

/// All but the text, which is the record's message.
pub(in crate::sinks) fn fields(attributes: &Attributes) -> impl Iterator<Item = &(String, Value)> {
    let text = attributes.message_field();
    attributes.fields.iter().enumerate().filter(move |(index, _)| Some(*index) != text).map(|(_, field)| field)
}
