use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use clap::{Arg, ArgAction, Parser as _};
use serde_json::Value;

use super::*;
use crate::cli::settings::SettingsArgs;
use crate::config::{self, Config};

/// Flags of `run` that are not about a field of the file: where it is, what is done with it, and those that stand for a
/// whole sink.
const OTHERS: [&str; 8] =
    ["config", "allow-env-interpolation", "watch-config", "demo", "format", "file-path", "file-encoding", "gap-marker"];

/// A file that sets each field which has a flag to something of its own.
const FILE: &str = "
capture: {attach: raw, side: relay, ring_size: 1MiB, sessions_max: 11, rotation_interval: 11s, max_line_bytes: 11KiB}
docker: {host: 'tcp://file', deadline: 11s, resubscribe: 11s, tls_ca: /file, tls_cert: /file, tls_key: /file}
admin: {listen: '127.0.0.1:11', metrics_grace: 11s, bpf_stats: true, state_dir: /file, token_file: /file,
        cert_file: /file, key_file: /file, viewers_max: 11, recent_size: 1MiB}
";

/// The same for the environment and for flags.
const OVER: [(&str, &str, &str); 21] = [
    ("capture.attach", "auto", "raw"),
    ("capture.side", "write", "relay"),
    ("capture.ring_size", "2MiB", "4MiB"),
    ("capture.sessions_max", "22", "33"),
    ("capture.rotation_interval", "22s", "33s"),
    ("capture.max_line_bytes", "22KiB", "33KiB"),
    ("docker.host", "tcp://environment", "tcp://flag"),
    ("docker.deadline", "22s", "33s"),
    ("docker.resubscribe", "22s", "33s"),
    ("docker.tls_ca", "/environment", "/flag"),
    ("docker.tls_cert", "/environment", "/flag"),
    ("docker.tls_key", "/environment", "/flag"),
    ("admin.listen", "127.0.0.1:22", "127.0.0.1:33"),
    ("admin.token_file", "/environment", "/flag"),
    ("admin.cert_file", "/environment", "/flag"),
    ("admin.key_file", "/environment", "/flag"),
    ("admin.viewers_max", "22", "33"),
    ("admin.recent_size", "2MiB", "3MiB"),
    ("admin.metrics_grace", "22s", "33s"),
    ("admin.bpf_stats", "false", "true"),
    ("admin.state_dir", "/environment", "/flag"),
];

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    settings: SettingsArgs,
}

fn at<'a>(config: &'a Value, field: &str) -> &'a Value {
    config.pointer(&format!("/{}", field.replace('.', "/"))).unwrap_or_else(|| panic!("no {field}"))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What holds in a process of its own, which alone can have an environment of its own.
fn what_holds(words: &[String], environment: &[(String, String)], file: &str) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, file).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "cli::flags::tests::prints_what_holds", "--ignored", "--nocapture"]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.env("CAPTURE_AGENT_CONFIG", &path).env("TEST_WORDS", words.join("\n")).env_remove("DOCKER_HOST");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let line = stdout.lines().find_map(|line| line.strip_prefix("holds: "));
    serde_json::from_str(line.unwrap_or_else(|| panic!("{stdout} {}", String::from_utf8_lossy(&output.stderr))))
        .unwrap()
}

#[test]
#[ignore = "a part of other tests, which give it an environment"]
fn prints_what_holds() {
    let words = std::env::var("TEST_WORDS").unwrap_or_default();
    let words = std::iter::once("agent").chain(words.lines());
    let settings = Line::try_parse_from(words).unwrap().settings;
    let loaded = settings.file().load(&{
        let settings = settings.clone();
        move |config: &mut Config| settings.lay_over(config)
    });
    println!("\nholds: {}", serde_json::to_string(&loaded.unwrap_or_else(|error| panic!("{error}")).config).unwrap());
}

#[test]
fn the_file_wins_over_the_defaults_the_environment_over_the_file_and_flags_over_all() {
    let environment: Vec<_> = OVER.map(|(field, value, _)| (flag_of(field).unwrap().variable, value.to_owned())).into();
    let flags: Vec<_> = OVER.map(|(field, _, value)| format!("{}={value}", flag_of(field).unwrap().flag)).into();
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let by_default = what_holds(&[], &[], "");
    let by_file = what_holds(&[], &[], FILE);
    let by_environment = what_holds(&[], &environment, FILE);
    let by_flags = what_holds(&flags, &environment, FILE);
    for (field, in_environment, in_flag) in OVER {
        assert_eq!(at(&by_default, field), at(&defaults, field), "{field}");
        let in_file = text(at(&by_file, field));
        assert_ne!(in_file, text(at(&defaults, field)), "{field}");
        assert_ne!(in_file, in_environment, "{field}");
        assert_eq!(text(at(&by_environment, field)), in_environment, "{field}");
        assert_ne!(in_flag, in_environment, "{field}");
        assert_eq!(text(at(&by_flags, field)), in_flag, "{field}");
    }
}

#[test]
fn flags_of_a_sink_stand_for_one_instead_of_the_files() {
    let file = "sinks: {out: {type: console, encoding: text}, all: {type: file, path: /x}}";
    let sinks = |words: &[&str], environment: &[(&str, &str)]| {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let holds = what_holds(&words, &environment, file);
        let sinks = holds["sinks"].as_object().unwrap();
        let told = |(name, sink): (&String, &Value)| {
            let of = |key: &str| sink.get(key).map(text).unwrap_or_default();
            format!("{name}: {} {} {} {}", of("type"), of("encoding"), of("path"), of("gap_marker").trim_end())
        };
        sinks.iter().map(told).collect::<Vec<_>>().join(", ")
    };
    let marker = "[capture-agent: {bytes} bytes of output are missing here: {reason}]";
    assert_eq!(sinks(&[], &[]), format!("all: file json /x {marker}, out: console text  {marker}"));
    assert_eq!(sinks(&["--format", "raw"], &[]), format!("default: console raw  {marker}"));
    assert_eq!(sinks(&["--gap-marker", "?"], &[("CAPTURE_AGENT_FORMAT", "text")]), "default: console text  ?");
    let words = ["--file-path", "/y/{stream}", "--file-encoding", "raw", "--gap-marker", "!"];
    assert_eq!(sinks(&words, &[("CAPTURE_AGENT_FORMAT", "text")]), "default: file raw /y/{stream} !");
    assert_eq!(sinks(&[], &[("CAPTURE_AGENT_FILE_PATH", "/z")]), format!("default: file json /z {marker}"));
}

fn arguments_of(command: &str) -> Vec<Arg> {
    let mut cli = Cli::command();
    cli.build();
    let command = cli.find_subcommand(command).unwrap();
    let is_own = |argument: &&Arg| {
        let is_question = matches!(argument.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::Version);
        argument.get_long().is_some() && !is_question
    };
    command.get_arguments().filter(is_own).cloned().collect()
}

#[test]
fn every_flag_has_a_twin_in_the_environment() {
    let mut count = 0;
    for command in ["run", "validate", "exec"] {
        for argument in arguments_of(command) {
            count += 1;
            let flag = argument.get_long().unwrap();
            let twin = format!("CAPTURE_AGENT_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(twin.as_str()), "{command} --{flag}");
        }
    }
    assert!(count > 50, "{count}");
}

#[test]
fn every_flag_of_run_is_about_a_field_or_known_not_to_be() {
    let flags: BTreeSet<_> = arguments_of("run").iter().filter_map(|flag| flag.get_long().map(str::to_owned)).collect();
    let known = FLAGS.iter().map(|(_, flag)| *flag).chain(OTHERS);
    assert_eq!(flags, known.map(str::to_owned).collect());
    assert_eq!(OVER.map(|(field, ..)| field), FLAGS.map(|(field, _)| field));
}

#[test]
fn every_field_that_only_a_start_settles_has_a_flag() {
    let schema = config::schema().to_value();
    for (section, definition) in [("capture", "CaptureSection"), ("docker", "DockerSection"), ("admin", "AdminSection")]
    {
        for field in schema["$defs"][definition]["properties"].as_object().unwrap().keys() {
            assert!(flag_of(&format!("{section}.{field}")).is_some(), "{section}.{field}");
        }
    }
    assert_eq!(flag_of("capture.ring_sise"), None);
}

#[test]
fn the_help_names_the_defaults_that_hold() {
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let arguments = arguments_of("run");
    for (field, flag) in FLAGS {
        let default = at(&defaults, field);
        if default.is_null() {
            continue;
        }
        let argument = arguments.iter().find(|argument| argument.get_long() == Some(flag)).unwrap();
        let help = argument.get_help().unwrap().to_string().replace('`', "");
        let expected = format!("[default: {}]", text(default));
        assert!(help.ends_with(&expected), "--{flag}: {help:?} does not end with {expected:?}");
    }
}
