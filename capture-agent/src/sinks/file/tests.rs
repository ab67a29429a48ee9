use std::fs;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tempfile::TempDir;

use super::open::MAX_OPEN;
use super::rotation::moved_away;
use super::*;
use crate::config::SinkContext;
use crate::pipeline::record::{Account, Content};
use crate::sinks::encode::Encoding;
use crate::sinks::gathered::LENT;

#[test]
fn a_template_is_printed_as_it_was_written() {
    let text = "/a/{container_name}-{container_id}/{stream}.log";
    assert_eq!(text.parse::<PathTemplate>().unwrap().to_string(), text);
}

#[test]
fn refuses_unknown_fields() {
    assert_eq!("/a/{name}".parse::<PathTemplate>(), Err(TemplateError::UnknownField("name".to_owned())));
    assert_eq!("/a/{stream".parse::<PathTemplate>(), Err(TemplateError::Unclosed));
    assert_eq!("".parse::<PathTemplate>(), Err(TemplateError::Empty));
}

#[test]
fn writes_each_container_and_stream_to_its_own_file() {
    let dir = tempfile::tempdir().unwrap();
    let template = format!("{}/{{container_name}}/{{container_id}}.{{stream}}", dir.path().display());
    let encoder = Encoder::new(Encoding::Raw, String::new(), false);
    let mut files = Files::new("file".parse().unwrap(), template.parse().unwrap(), encoder);
    let record = |id: &str, stream, message: &'static [u8]| Record {
        origin: Arc::new(Origin::new(id.into(), None, Arc::new(Account::default()))),
        stream,
        completed: 0,
        timestamp: 0,
        position: 0,
        content: Content::Line { message: Bytes::from_static(message), newline: true, partial: false, omitted: 0 },
        attributes: None,
    };
    // More containers than may be open, each twice.
    let ids: Vec<_> = (0..MAX_OPEN + 5).map(|number| format!("c{number}")).collect();
    for _ in 0..2 {
        let records: Vec<_> = ids.iter().map(|id| record(id, Stream::Stdout, b"x\xff")).collect();
        files.write(&records).unwrap();
    }
    files.write(&[record("c0", Stream::Stderr, b"e")]).unwrap();
    for id in &ids {
        assert_eq!(fs::read(dir.path().join(format!("{id}/{id}.stdout"))).unwrap(), b"x\xff\nx\xff\n");
    }
    assert_eq!(fs::read(dir.path().join("c0/c0.stderr")).unwrap(), b"e\n");
    assert!(files.open.len() <= MAX_OPEN);
}

/// Raw records in files named by the container.
fn files(directory: &TempDir) -> Files {
    let template = format!("{}/{{container_name}}", directory.path().display());
    Files::new("file".parse().unwrap(), template.parse().unwrap(), Encoder::new(Encoding::Raw, String::new(), false))
}

fn origin(id: &str) -> Arc<Origin> {
    Arc::new(Origin::new(id.into(), None, Arc::default()))
}

/// Lines of ten bytes.
fn lines(origin: &Arc<Origin>, numbers: std::ops::Range<u64>) -> Vec<Record> {
    let line = |number: u64| Record {
        origin: Arc::clone(origin),
        stream: Stream::Stdout,
        completed: 0,
        timestamp: 0,
        position: number * 10,
        content: Content::Line { message: format!("{number:09}").into(), newline: true, partial: false, omitted: 0 },
        attributes: None,
    };
    numbers.map(line).collect()
}

fn text(numbers: std::ops::Range<u64>) -> String {
    numbers.fold(String::new(), |text, number| text + &format!("{number:09}\n"))
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_file_is_moved_away_at_its_size_between_two_lines() {
    let directory = tempfile::tempdir().unwrap();
    let rotation = Rotation { max_bytes: Some(105), ..Rotation::default() };
    let mut files = files(&directory).rotation(rotation);
    let origin = origin("a");
    for batch in 0..10 {
        files.write(&lines(&origin, batch * 7..batch * 7 + 7)).unwrap();
    }
    let path = directory.path().join("a");
    let (moved, _) = moved_away(&path).unwrap();
    assert_eq!(moved.len(), 6);
    let all: Vec<_> = moved.iter().chain([&path]).map(|file| fs::read_to_string(file).unwrap()).collect();
    assert!(all.iter().all(|file| file.len() <= 105));
    assert_eq!(all.concat(), text(0..70));
    // A line that is longer has one for itself.
    let mut long = lines(&origin, 70..72);
    long[0].content = Content::Line { message: "x".repeat(300).into(), newline: true, partial: false, omitted: 0 };
    files.write(&long).unwrap();
    let (moved, _) = moved_away(&path).unwrap();
    assert_eq!(moved.len(), 8);
    assert_eq!((fs::metadata(&moved[7]).unwrap().len(), fs::read_to_string(&path).unwrap()), (301, text(71..72)));
}

#[test]
fn what_is_written_from_where_it_lies_stands_among_the_others() {
    let origin = origin("a");
    // A line by itself, many at once, and few, which are copied to where the first is.
    let (many, few, writes) = (LENT as u64 / 10 + 1, 3, 600);
    let mut number = 0;
    let mut records = Vec::new();
    for _ in 0..writes {
        records.extend(lines(&origin, number..number + 1));
        number += 1;
        for count in [many, few] {
            let data = text(number..number + count).into();
            let content = Content::Lines { data, count: u32::try_from(count).unwrap() };
            records.push(Record { content, ..records[0].clone() });
            number += count;
        }
    }
    let written = text(0..number);
    assert!(written.len() > PIECE);
    for max_bytes in [None, Some(100_000)] {
        let directory = tempfile::tempdir().unwrap();
        let mut files = files(&directory).rotation(Rotation { max_bytes, ..Rotation::default() });
        assert_eq!(files.write(&records).unwrap(), Receipt::default());
        let path = directory.path().join("a");
        let (moved, _) = moved_away(&path).unwrap();
        assert_eq!(moved.is_empty(), max_bytes.is_none());
        let all: Vec<_> = moved.iter().chain([&path]).map(|file| fs::read_to_string(file).unwrap()).collect();
        assert!(all.iter().all(|file| max_bytes.is_none_or(|most| file.len() as u64 <= most)));
        assert!(all.concat() == written);
    }
}

#[test]
fn a_file_is_moved_away_at_its_age_when_nothing_is_written_too() {
    let directory = tempfile::tempdir().unwrap();
    let rotation = Rotation { max_age: Some(Duration::from_millis(60)), ..Rotation::default() };
    let mut files = files(&directory).rotation(rotation);
    let origin = origin("a");
    files.write(&lines(&origin, 0..3)).unwrap();
    files.tick();
    let path = directory.path().join("a");
    assert!(path.exists());
    std::thread::sleep(Duration::from_millis(70));
    files.tick();
    assert!(!path.exists());
    files.write(&lines(&origin, 3..4)).unwrap();
    // Closed meanwhile, and as old as it was.
    files.reopen();
    std::thread::sleep(Duration::from_millis(70));
    files.write(&lines(&origin, 4..5)).unwrap();
    let (moved, _) = moved_away(&path).unwrap();
    let all: Vec<_> = moved.iter().chain([&path]).map(|file| fs::read_to_string(file).unwrap()).collect();
    assert_eq!(all, [text(0..3), text(3..4), text(4..5)]);
}

#[test]
fn so_many_files_are_kept_and_compressed() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        // What an agent that was killed over it has left, and what is no business of the sink's.
        fs::write(directory.path().join("a.20200101T000000.000Z.gz.part"), "half").unwrap();
        fs::write(directory.path().join("a.20200101T000000.000Z"), "old\n").unwrap();
        fs::write(directory.path().join("a.20200101.backup"), "mine").unwrap();
        let rotation = Rotation { max_bytes: Some(1000), keep: Some(3), compression, ..Rotation::default() };
        let mut files = files(&directory).rotation(rotation);
        let origin = origin("a");
        for batch in 0..50 {
            files.write(&lines(&origin, batch * 10..batch * 10 + 10)).unwrap();
        }
        let extension = compression.extension();
        eventually("three are left, all compressed", || {
            files.housekeeping.tidy(&path);
            let (moved, unfinished) = moved_away(&path).unwrap();
            moved.len() == 3
                && unfinished.is_empty()
                && moved.iter().all(|file| file.to_str().unwrap().ends_with(extension))
        });
        let (moved, _) = moved_away(&path).unwrap();
        let read = |file: &PathBuf| {
            let bytes = fs::read(file).unwrap();
            let mut text = String::new();
            match compression {
                Compression::None => text = String::from_utf8(bytes).unwrap(),
                Compression::Gzip => drop(flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap()),
                Compression::Zstd => text = String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap(),
            }
            text
        };
        let kept: String = moved.iter().map(read).collect();
        assert_eq!(kept, text(100..400), "{compression:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text(400..500));
        assert_eq!(fs::read_to_string(directory.path().join("a.20200101.backup")).unwrap(), "mine");
    }
}

#[test]
fn a_file_that_somebody_moved_away_is_opened_anew_when_the_sink_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = files(&directory);
    let (origin, path, moved) = (origin("a"), directory.path().join("a"), directory.path().join("moved"));
    files.write(&lines(&origin, 0..2)).unwrap();
    fs::rename(&path, &moved).unwrap();
    files.write(&lines(&origin, 2..4)).unwrap();
    files.reopen();
    files.write(&lines(&origin, 4..6)).unwrap();
    assert_eq!((fs::read_to_string(moved).unwrap(), fs::read_to_string(path).unwrap()), (text(0..4), text(4..6)));
}

#[test]
fn a_file_that_nothing_is_written_to_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = files(&directory).idle(Duration::from_millis(50));
    files.write(&[lines(&origin("a"), 0..1), lines(&origin("b"), 0..1)].concat()).unwrap();
    files.tick();
    assert_eq!(files.open.len(), 2);
    std::thread::sleep(Duration::from_millis(60));
    files.write(&lines(&origin("b"), 1..2)).unwrap();
    files.tick();
    assert_eq!(files.open.len(), 1);
}

#[test]
fn one_file_that_cannot_be_written_costs_the_others_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // A device that has no room, and a directory in a file's place.
    std::os::unix::fs::symlink("/dev/full", at("full")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    let mut files = files(&directory);
    let origins = ["a", "full", "directory", "b"].map(origin);
    let mut records = Vec::new();
    for number in 0..5 {
        for origin in &origins {
            records.extend(lines(origin, number..number + 1));
        }
    }
    let Err(SinkError::Partial { cause, left, refused, .. }) = files.write(&records) else { panic!("a part fails") };
    assert_eq!(left, [1, 5, 9, 13, 17]);
    let refused: Vec<_> = refused.iter().map(|refused| (refused.index, refused.reason)).collect();
    assert_eq!(refused, [2, 6, 10, 14, 18].map(|index| (index, "unwritable")));
    assert!(cause.contains("full: No space left on device"), "{cause}");
    for name in ["a", "b"] {
        assert_eq!(fs::read_to_string(at(name)).unwrap(), text(0..5));
    }
    // The same again, with room: what was left, once.
    fs::remove_file(at("full")).unwrap();
    let rest: Vec<_> = left.iter().map(|index| records[*index].clone()).collect();
    files.write(&rest).unwrap();
    assert_eq!(fs::read_to_string(at("full")).unwrap(), text(0..5));
    // Where nothing at all was written, all of it comes again.
    fs::remove_file(at("a")).unwrap();
    std::os::unix::fs::symlink("/dev/full", at("a")).unwrap();
    files.reopen();
    assert!(matches!(files.write(&lines(&origins[0], 0..3)), Err(SinkError::Retry { .. })));
}

#[test]
fn of_what_comes_in_pieces_nothing_follows_what_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::os::unix::fs::symlink("/dev/full", at("full")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    let origins = ["a", "full", "directory"].map(origin);
    // Three pieces for each file.
    let many = 3 * PIECE as u64 / 10;
    let mut records = Vec::new();
    for begin in (0..many).step_by(1000) {
        for origin in &origins {
            records.extend(lines(origin, begin..many.min(begin + 1000)));
        }
    }
    let of = |name: &str| {
        let is_its = |record: &Record| &*record.origin.container_id == name;
        records.iter().enumerate().filter(|(_, record)| is_its(record)).map(|(index, _)| index).collect::<Vec<_>>()
    };
    let Err(SinkError::Partial { left, refused, .. }) = files(&directory).write(&records) else {
        panic!("a part fails")
    };
    assert_eq!(left, of("full"));
    assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), of("directory"));
    assert_eq!(fs::read_to_string(at("a")).unwrap(), text(0..many));
}

#[test]
fn files_are_as_their_configuration_says() {
    let directory = tempfile::tempdir().unwrap();
    let said = serde_json::json!({
        "path": format!("{}/{{container_name}}", directory.path().display()),
        "encoding": "raw",
        "rotation": {"max_bytes": "30", "max_age": "1h", "keep": 2, "compression": "gzip"},
        "idle_timeout": "1ms",
    });
    let config: FileConfig = serde_json::from_value(said).unwrap();
    let mut files = config.build(SinkContext { name: "file".parse().unwrap(), host: String::new() });
    files.check().unwrap();
    let a = origin("a");
    files.write(&lines(&a, 0..12)).unwrap();
    let path = directory.path().join("a");
    assert_eq!(fs::read_to_string(&path).unwrap(), text(9..12));
    eventually("two files to be kept, compressed", || {
        let (moved, _) = moved_away(&path).unwrap();
        moved.len() == 2 && moved.iter().all(|file| file.extension().is_some_and(|extension| extension == "gz"))
    });
    std::thread::sleep(Duration::from_millis(5));
    files.tick();
    assert_eq!(files.open.len(), 0);
}

#[test]
fn a_place_where_no_file_can_be_is_told_by_the_check() {
    let directory = tempfile::tempdir().unwrap();
    let check = |path: String| {
        let mut files = FileConfig::at(path.parse().unwrap())
            .build(SinkContext { name: "file".parse().unwrap(), host: String::new() });
        files.check().map_err(|error| error.to_string())
    };
    let root = directory.path().display();
    assert_eq!(check(format!("{root}/not/there/yet/{{stream}}.log")), Ok(()));
    fs::write(directory.path().join("taken"), "").unwrap();
    let told = check(format!("{root}/taken/{{stream}}.log")).unwrap_err();
    assert_eq!(told, format!("no file can be made in {root}/taken: {root}/taken is no directory"));
    assert!(
        check("/proc/self/{stream}.log".to_owned()).unwrap_err().starts_with("no file can be made in /proc/self: ")
    );
}
