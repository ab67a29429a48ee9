//! Shell completions and man pages, made of the same definition as the flags.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory as _, ValueEnum};
use clap_complete::aot::{Bash, Fish, Generator, Zsh, generate};
use clap_mangen::Man;

use super::Cli;

const PROGRAM: &str = "capture-agent";
/// Commands of system administration (`man(1)`).
const SECTION: &str = "8";

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that is to read them.
    #[arg(value_enum)]
    shell: Shell,
}

/// Shells that completions can be made for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write a page for each command into this directory; without it, the main page goes to standard output.
    directory: Option<PathBuf>,
}

/// Prints completions.
pub fn completions(args: &CompletionsArgs) -> anyhow::Result<u8> {
    let script = match args.shell {
        Shell::Bash => bash(),
        Shell::Zsh => script(Zsh),
        Shell::Fish => script(Fish),
    };
    print(&script)
}

/// Prints the main page, or writes them all.
pub fn man(args: &ManArgs) -> anyhow::Result<u8> {
    // Without the command `help`, which would have a page for each page.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(directory) = &args.directory else {
        let mut page = Vec::new();
        page_of(&command).render(&mut page)?;
        return print(&page);
    };
    fs::create_dir_all(directory).with_context(|| format!("{}: cannot be made", directory.display()))?;
    write_pages(&command, directory).with_context(|| format!("{}: cannot be written to", directory.display()))?;
    Ok(0)
}

fn script(generator: impl Generator) -> Vec<u8> {
    let mut script = Vec::new();
    generate(generator, &mut Cli::command(), PROGRAM, &mut script);
    script
}

/// `clap_complete` 4.6 looks for the program's commands under two spellings where its name has a hyphen, so that nothing
/// after a command would be completed: <https://github.com/clap-rs/clap/issues/6421>.
fn bash() -> Vec<u8> {
    let script = String::from_utf8_lossy(&script(Bash)).replace("capture__subcmd__agent", "capture__agent");
    script.into_bytes()
}

fn page_of(command: &Command) -> Man {
    Man::new(command.clone())
        .section(SECTION)
        .manual("capture-agent")
        .source(concat!("capture-agent ", env!("CARGO_PKG_VERSION")))
}

fn write_pages(command: &Command, directory: &Path) -> io::Result<()> {
    page_of(command).generate_to(directory)?;
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .try_for_each(|command| write_pages(command, directory))
}

fn print(text: &[u8]) -> anyhow::Result<u8> {
    match io::stdout().write_all(text) {
        // Whoever reads it may have seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command_that_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        man(&ManArgs { directory: Some(directory.path().to_owned()) }).unwrap();
        let mut expected: Vec<String> = Cli::command()
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .map(|command| format!("capture-agent-{}.8", command.get_name()))
            .chain(["capture-agent.8".to_owned()])
            .collect();
        expected.sort();
        let mut pages: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        pages.sort();
        assert_eq!(pages, expected);
        assert!(expected.len() > 4 && !expected.iter().any(|page| page.contains("enter-cgroup")), "{expected:?}");
    }

    #[test]
    fn every_flag_of_run_is_in_its_page_and_in_every_shells_completions() {
        let mut command = Cli::command();
        let flags: Vec<String> = command
            .find_subcommand_mut("run")
            .unwrap()
            .get_arguments()
            .filter_map(|argument| argument.get_long().map(str::to_owned))
            .collect();
        assert!(flags.iter().any(|flag| flag == "ring-size"), "{flags:?}");
        let directory = tempfile::tempdir().unwrap();
        man(&ManArgs { directory: Some(directory.path().to_owned()) }).unwrap();
        let page = fs::read_to_string(directory.path().join("capture-agent-run.8")).unwrap().replace('\\', "");
        let scripts = [bash(), script(Zsh), script(Fish)].map(|script| String::from_utf8(script).unwrap());
        for flag in flags {
            assert!(page.contains(&format!("--{flag}")), "{flag}");
            // Fish writes `-l flag`.
            assert!(scripts.iter().all(|script| script.contains(&flag)), "{flag}");
        }
    }
}
