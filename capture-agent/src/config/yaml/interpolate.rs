//! `${VARIABLE}` in values.

use super::{Node, Problem, Value};

/// What `${VARIABLE}` is in a value.
pub enum Interpolation<'a> {
    /// A mistake: nobody has allowed it.
    Refused,
    /// The value of a variable of the environment, as this function has it.
    From(&'a dyn Fn(&str) -> Option<String>),
}

/// Puts variables of the environment into all values. `$${` stands for `${`.
///
/// What comes from a variable is one value: no key, list or section can come of it.
///
/// # Errors
///
/// Every `${` that is not allowed, has no end or names a variable that is not set.
pub fn interpolate(root: &mut Node, interpolation: &Interpolation<'_>) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    walk(root, "", interpolation, &mut problems);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn walk(node: &mut Node, path: &str, interpolation: &Interpolation<'_>, problems: &mut Vec<Problem>) {
    let at = node.at;
    match &mut node.value {
        Value::Scalar { text, written, .. } if text.contains("${") => match replace(text, interpolation) {
            Ok(Replaced { text: with, uses_variables }) => {
                let before = std::mem::replace(text, with);
                if uses_variables {
                    *written = Some(before);
                }
            }
            Err(message) => problems.push(Problem::at(at, path, message)),
        },
        Value::Scalar { .. } => {}
        Value::Sequence(nodes) => {
            for (index, node) in nodes.iter_mut().enumerate() {
                walk(node, &format!("{path}[{index}]"), interpolation, problems);
            }
        }
        Value::Mapping(entries) => {
            for entry in entries {
                let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                walk(&mut entry.value, &path, interpolation, problems);
            }
        }
    }
}

struct Replaced {
    text: String,
    uses_variables: bool,
}

fn replace(text: &str, interpolation: &Interpolation<'_>) -> Result<Replaced, String> {
    let mut replaced = Replaced { text: String::with_capacity(text.len()), uses_variables: false };
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            replaced.text.push_str(before);
            replaced.text.push_str("${");
            rest = after;
            continue;
        }
        let Interpolation::From(variable) = interpolation else {
            return Err(
                "`${` is not allowed here: give --allow-env-interpolation if a variable of the environment is \
                        meant, or write `$${` for the characters themselves"
                    .to_owned(),
            );
        };
        let Some((reference, after)) = after.split_once('}') else {
            return Err("`${` without `}`; write `$${` for the characters themselves".to_owned());
        };
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_name(name) {
            return Err(format!("`${{{name}}}` names no variable: a name has letters, digits and `_`"));
        }
        replaced.text.push_str(before);
        // As in a shell: `:-` counts for an empty variable as well.
        match (variable(name), default) {
            (Some(value), _) if !value.is_empty() => replaced.text.push_str(&value),
            (_, Some(default)) => replaced.text.push_str(default),
            (Some(_), None) => {}
            (None, None) => {
                return Err(format!(
                    "the variable {name} is not set; set it, or give a default with `${{{name}:-default}}`"
                ));
            }
        }
        replaced.uses_variables = true;
        rest = after;
    }
    replaced.text.push_str(rest);
    Ok(replaced)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml::parse;

    fn variable(name: &str) -> Option<String> {
        match name {
            "TOKEN" => Some("hunter2: [".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn value(text: &str) -> Result<String, String> {
        let mut root = parse(&format!("a:\n- b: {text}\n")).ok().unwrap();
        interpolate(&mut root, &Interpolation::From(&variable)).map_err(|problems| problems[0].to_string())?;
        let Value::Sequence(list) = &root.get("a").unwrap().value.value else { panic!("no list") };
        let Value::Scalar { text, .. } = &list[0].get("b").unwrap().value.value else { panic!("no scalar") };
        Ok(text.clone())
    }

    #[test]
    fn variables_are_put_in_as_they_are() {
        for (text, expected) in [
            ("${TOKEN}", "hunter2: ["),
            ("'Bearer ${TOKEN}!'", "Bearer hunter2: [!"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}${UNSET:-}${UNSET:-a b}", "xa b"),
            ("${TOKEN:-x}", "hunter2: ["),
            ("$${TOKEN} $1 $", "${TOKEN} $1 $"),
        ] {
            assert_eq!(value(text), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_place_and_field() {
        for (text, expected) in [
            (
                "${UNSET}",
                "2:6: a[0].b: the variable UNSET is not set; set it, or give a default with `${UNSET:-default}`",
            ),
            ("${TOKEN", "2:6: a[0].b: `${` without `}`; write `$${` for the characters themselves"),
            ("${1}", "2:6: a[0].b: `${1}` names no variable: a name has letters, digits and `_`"),
            ("${}", "2:6: a[0].b: `${}` names no variable: a name has letters, digits and `_`"),
        ] {
            assert_eq!(value(text), Err(expected.to_owned()));
        }
    }

    #[test]
    fn all_of_them_are_told_where_it_is_not_allowed() {
        let mut root = parse("a: ${TOKEN}\nb: {c: ['${X:-y}', '$${Z}']}\n").ok().unwrap();
        let problems = interpolate(&mut root, &Interpolation::Refused).err().unwrap();
        let why = "`${` is not allowed here: give --allow-env-interpolation if a variable of the environment is meant, \
                   or write `$${` for the characters themselves";
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told, [format!("1:4: a: {why}"), format!("2:9: b.c[0]: {why}")]);
    }
}
