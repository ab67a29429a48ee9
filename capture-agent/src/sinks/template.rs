//! Texts with `{field}` in them: paths of files, labels of Loki, topics of Kafka.

/// A piece of one, with what stands in braces as whoever uses it knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part<F> {
    Text(String),
    Field(F),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// This in braces is not a field.
    Unknown(String),
    /// `{` without `}`.
    Unclosed,
}

/// The parts of a text, none of them empty. `fields` are the names that may stand in braces.
pub(super) fn parse<F: Copy>(text: &str, fields: &[(&str, F)]) -> Result<Vec<Part<F>>, Fault> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or(Fault::Unclosed)?;
        let field = fields.iter().find(|(field, _)| *field == name);
        let (_, field) = field.ok_or_else(|| Fault::Unknown(name.to_owned()))?;
        parts.extend([Part::Text(before.to_owned()), Part::Field(*field)]);
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
    Ok(parts)
}

/// The names in braces, for a message.
pub(super) fn names<F>(fields: &[(&str, F)]) -> String {
    let names: Vec<_> = fields.iter().map(|(name, _)| format!("{{{name}}}")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [(&str, u8); 2] = [("one", 1), ("two", 2)];

    #[test]
    fn a_text_falls_into_its_parts() {
        let text = |text: &str| Part::Text(text.to_owned());
        assert_eq!(parse("", &FIELDS), Ok(vec![]));
        assert_eq!(parse("a}b", &FIELDS), Ok(vec![text("a}b")]));
        assert_eq!(parse("{one}{two}", &FIELDS), Ok(vec![Part::Field(1), Part::Field(2)]));
        assert_eq!(
            parse("a{two}b{one}c", &FIELDS),
            Ok(vec![text("a"), Part::Field(2), text("b"), Part::Field(1), text("c")])
        );
    }

    #[test]
    fn what_is_none_is_told() {
        assert_eq!(parse("a{three}", &FIELDS), Err(Fault::Unknown("three".to_owned())));
        assert_eq!(parse("{}", &FIELDS), Err(Fault::Unknown(String::new())));
        assert_eq!(parse("{one}{two", &FIELDS), Err(Fault::Unclosed));
        assert_eq!(names(&FIELDS), "{one}, {two}");
    }
}
