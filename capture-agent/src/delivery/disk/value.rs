//! Values of structured lines, exact: as JSON text a fraction may come back as its neighbour.

use serde_json::{Map, Number, Value};

use super::wire::{Input, Malformed, put_bytes, put_number, put_signed};

/// How deep a value may be nested; JSON that is parsed ends at 128 (`serde_json`'s recursion limit).
const MAX_DEPTH: u32 = 256;

pub(super) fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0),
        Value::Bool(false) => out.push(1),
        Value::Bool(true) => out.push(2),
        Value::Number(number) => put_json_number(out, number),
        Value::String(text) => {
            out.push(6);
            put_bytes(out, text.as_bytes());
        }
        Value::Array(values) => {
            out.push(7);
            put_number(out, values.len() as u64);
            for value in values {
                put(out, value);
            }
        }
        Value::Object(fields) => {
            out.push(8);
            put_number(out, fields.len() as u64);
            for (key, value) in fields {
                put_bytes(out, key.as_bytes());
                put(out, value);
            }
        }
    }
}

fn put_json_number(out: &mut Vec<u8>, number: &Number) {
    if let Some(number) = number.as_u64() {
        out.push(3);
        put_number(out, number);
    } else if let Some(number) = number.as_i64() {
        out.push(4);
        put_signed(out, number);
    } else {
        // What is neither is a fraction.
        out.push(5);
        out.extend_from_slice(&number.as_f64().unwrap_or_default().to_bits().to_le_bytes());
    }
}

pub(super) fn get(input: &mut Input) -> Result<Value, Malformed> {
    get_nested(input, MAX_DEPTH)
}

fn get_nested(input: &mut Input, depth: u32) -> Result<Value, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    Ok(match input.byte()? {
        0 => Value::Null,
        1 => Value::Bool(false),
        2 => Value::Bool(true),
        3 => Value::Number(input.number()?.into()),
        4 => Value::Number(input.signed()?.into()),
        5 => {
            let bits = input.exact(8)?[..].try_into().map_err(|_| Malformed)?;
            Value::Number(Number::from_f64(f64::from_bits(u64::from_le_bytes(bits))).ok_or(Malformed)?)
        }
        6 => Value::String(input.text()?),
        7 => {
            let mut values = Vec::new();
            for _ in 0..input.number()? {
                values.push(get_nested(input, depth)?);
            }
            Value::Array(values)
        }
        8 => {
            let mut fields = Map::new();
            for _ in 0..input.number()? {
                let key = input.text()?;
                fields.insert(key, get_nested(input, depth)?);
            }
            Value::Object(fields)
        }
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_value_comes_back_exactly() {
        let fraction = f64::from_bits(0x3fb9_9999_9999_999b);
        let value = json!({
            "null": null, "yes": true, "no": false, "text": "a\"\u{0}→", "empty": "", "list": [1, [2, {}], []],
            "most": u64::MAX, "least": i64::MIN, "fraction": fraction, "tiny": 5e-324, "minus zero": -0.0,
        });
        let mut out = Vec::new();
        put(&mut out, &value);
        let mut input = Input::new(out.into());
        let read = get(&mut input).unwrap();
        assert_eq!(read, value);
        assert!(input.is_empty());
        assert_eq!(read["fraction"].as_f64().unwrap().to_bits(), fraction.to_bits());
    }

    #[test]
    fn nesting_without_end_is_malformed() {
        let deep = [7, 1].repeat(100_000);
        assert_eq!(get(&mut Input::new(deep.into())), Err(Malformed));
    }
}
