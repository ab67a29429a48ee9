use std::collections::BTreeMap;

use serde_json::json;

use super::*;

fn metadata(name: &str) -> Arc<Metadata> {
    Arc::new(Metadata {
        id: "ab".repeat(32),
        name: name.to_owned(),
        image: "nginx:1".to_owned(),
        labels: BTreeMap::from([("team".to_owned(), "a → b".to_owned()), (String::new(), String::new())]),
    })
}

/// Numbers that follow from each other in no way.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // Small ones and large ones alike.
        self.0 >> (self.0 % 64)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.throw() % end as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Bytes {
        (0..self.below(most)).map(|_| self.throw() as u8).collect::<Vec<_>>().into()
    }
}

fn record(dice: &mut Dice, origins: &[Arc<Origin>]) -> Record {
    let content = if dice.below(8) == 0 {
        let reasons = [None, Some("ring_full"), Some("queue_full"), Some("rate_limited")];
        Content::Gap { bytes: dice.throw(), reason: reasons[dice.below(4)] }
    } else {
        let omitted = if dice.below(4) == 0 { dice.throw().cast_signed() >> 8 } else { 0 };
        Content::Line { message: dice.bytes(300), newline: dice.below(2) == 0, partial: dice.below(2) == 0, omitted }
    };
    let attributes = (dice.below(3) == 0).then(|| {
        let levels = LEVELS.map(Some).into_iter().chain([None]).collect::<Vec<_>>();
        let comm = std::array::from_fn(|_| dice.throw() as u8);
        let writer = Writer { pid: dice.throw() as u32, uid: dice.throw() as u32, comm };
        Box::new(Attributes {
            level: levels[dice.below(7)],
            fields: (0..dice.below(3))
                .map(|field| (format!("f{field}"), json!({ "a": [dice.throw(), 0.1] })))
                .collect(),
            writer: (dice.below(2) == 0).then_some(writer),
        })
    });
    Record {
        origin: Arc::clone(&origins[dice.below(origins.len())]),
        stream: Stream::ALL[dice.below(2)],
        timestamp: dice.throw().cast_signed(),
        completed: dice.throw(),
        position: dice.throw() >> 1,
        content,
        attributes,
    }
}

#[track_caller]
fn assert_same(read: &Record, written: &Record) {
    assert_eq!(read.origin.container_id, written.origin.container_id);
    assert_eq!(read.origin.metadata, written.origin.metadata);
    assert_eq!(read.stream, written.stream);
    assert_eq!((read.timestamp, read.completed), (written.timestamp, written.completed));
    assert_eq!(read.position, written.position);
    assert_eq!(read.content, written.content);
    assert_eq!(read.attributes, written.attributes);
    assert_eq!(read.uid(), written.uid());
}

#[test]
fn every_field_of_every_record_comes_back() {
    let new = |id: &str, metadata| Arc::new(Origin::new(id.into(), metadata, Arc::default()));
    let renamed = metadata("web");
    let origins_written = [
        new(&"0123456789abcdef".repeat(4), Some(metadata("api"))),
        new(&"0123456789abcdef".repeat(4), Some(Arc::clone(&renamed))),
        new(&"fe".repeat(32), None),
        new("not a Docker id", Some(renamed)),
        new(&"FE".repeat(32), None),
    ];
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (mut definitions, mut origins, accounts) = (Definitions::default(), Origins::default(), Accounts::default());
    let mut defined = 0;
    for frame in 0..200 {
        let count = dice.below(50);
        let written: Vec<_> = (0..count).map(|_| record(&mut dice, &origins_written)).collect();
        let mut payload = Vec::new();
        put_records(&mut payload, &written, &mut definitions, |number, origin, metadata| {
            accounts.remember(origin);
            if let Some(metadata) = metadata {
                let mut definition = Vec::new();
                super::super::origins::put_definition(&mut definition, number, metadata);
                let (number, metadata) =
                    super::super::origins::get_definition(&mut Input::new(definition.into())).unwrap();
                origins.define(number, metadata);
                defined += 1;
            }
        });
        let read = get_records(payload.into(), count as u32, &mut origins, &accounts).unwrap();
        assert_eq!(read.len(), written.len(), "frame {frame}");
        for (read, written) in read.iter().zip(&written) {
            assert_same(read, written);
        }
        // Lines of a container that is still known are counted for it.
        for (read, written) in read.iter().zip(&written) {
            if written.origin.container_id.len() != 64 || written.origin.container_id.starts_with("fe") {
                assert!(Arc::ptr_eq(&read.origin.account, &written.origin.account));
            }
        }
    }
    assert_eq!(defined, 2, "once in a segment");
}

#[test]
fn lines_of_one_container_take_little_more_than_themselves() {
    let origin = Arc::new(Origin::new("ab".repeat(32).into(), Some(metadata("web")), Arc::default()));
    let mut position = 0;
    let records: Vec<_> = (0..1000)
        .map(|number| {
            let record = Record {
                origin: Arc::clone(&origin),
                stream: Stream::Stdout,
                timestamp: 1_700_000_000_000_000_000 + number * 12_345,
                completed: 1_000_000_000 + number.cast_unsigned() * 12_345,
                position,
                content: Content::Line {
                    message: Bytes::from_static(&[b'x'; 99]),
                    newline: true,
                    partial: false,
                    omitted: 0,
                },
                attributes: None,
            };
            position += 100;
            record
        })
        .collect();
    let mut payload = Vec::new();
    put_records(&mut payload, &records, &mut Definitions::default(), |_, _, _| {});
    let beyond = payload.len() - 99 * 1000;
    assert!(beyond < 10 * 1000, "{beyond} bytes for 1,000 records");
}

#[test]
fn a_payload_that_ends_early_or_late_is_malformed_and_nothing_panics() {
    let origins_written = [Arc::new(Origin::new("ab".repeat(32).into(), None, Arc::default()))];
    let mut dice = Dice(7);
    let written: Vec<_> = (0..20).map(|_| record(&mut dice, &origins_written)).collect();
    let mut payload = Vec::new();
    put_records(&mut payload, &written, &mut Definitions::default(), |_, _, _| {});
    let read = |payload: &[u8], count| {
        get_records(Bytes::copy_from_slice(payload), count, &mut Origins::default(), &Accounts::default())
    };
    for end in 0..payload.len() {
        assert!(read(&payload[..end], 20).is_err(), "cut off at {end}");
    }
    assert!(read(&payload, 19).is_err() && read(&payload, 21).is_err());
    // What a checksum lets through by chance must not end the agent.
    for place in 0..payload.len() {
        for bit in 0..8 {
            let mut damaged = payload.clone();
            damaged[place] ^= 1 << bit;
            let _ = read(&damaged, 20);
        }
    }
}
