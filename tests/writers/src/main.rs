//! `writer CASE [SEED]`: writes in one way; `writer --paced …`: goes on writing; `writer --flood …`: writes much;
//! `writer --numbered …`: keeps to a schedule.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(status) => ExitCode::from(status),
        // Standard error may be what is under test, so the status alone tells (and the exit message goes to a file).
        Err(message) => {
            let _ = std::fs::write("/writer-error", message);
            ExitCode::from(3)
        }
    }
}

fn run(arguments: &[&str]) -> Result<u8, String> {
    if let ["--paced", pace @ ..] = arguments {
        return capture_writers::paced::Pace::parse(pace)?.run().map_err(|error| format!("paced: {error}"));
    }
    if let ["--flood", directory, flood @ ..] = arguments {
        let flood = capture_writers::flood::Flood::parse(flood)?;
        return flood.run(directory.as_ref()).map(|()| 0).map_err(|error| format!("flood: {error}"));
    }
    if let ["--numbered", numbered @ ..] = arguments {
        let numbered = capture_writers::numbered::Numbered::parse(numbered)?;
        return numbered.run().map(|()| 0).map_err(|error| format!("numbered: {error}"));
    }
    once(arguments).map(|()| 0)
}

fn once(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        ["--list"] => {
            for case in capture_writers::CASES {
                println!("{}", case.name);
            }
            Ok(())
        }
        ["--part", case, seed, fd, from, to] => {
            let seed = number(seed)?;
            find(case)?
                .write_part(seed, number(fd)?, number(from)?, number(to)?)
                .map_err(|error| format!("{case}: {error}"))
        }
        [case] => find(case)?.run(1).map_err(|error| format!("{case}: {error}")),
        [case, seed] => find(case)?.run(number(seed)?).map_err(|error| format!("{case}: {error}")),
        _ => Err("usage: writer CASE [SEED], writer --paced SEED LINES PERIOD_MS CHUNK BATCHES STATUS, \
             writer --flood DIRECTORY NAME LINES LENGTH CHUNK RATE, or writer --numbered SEED RATE DIRECTORY"
            .to_owned()),
    }
}

fn find(name: &str) -> Result<&'static capture_writers::Case, String> {
    capture_writers::find(name).ok_or_else(|| format!("no case {name}; see writer --list"))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}
