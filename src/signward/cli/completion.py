"""``signward completion SHELL``: a script that completes commands, options and values.

It is written from the parsers themselves, so no option can be missing or left over.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

EPILOG = """examples:
  signward completion bash > ~/.local/share/bash-completion/completions/signward
  signward completion zsh > "${fpath[1]}/_signward"
  signward completion fish > ~/.config/fish/completions/signward.fish

for this shell alone: eval "$(signward completion bash)"

exit codes: 0 written, 2 command line
"""

_FILES = frozenset({"FILE", "PEM", "PATH", "STORE"})
_FOLDERS = frozenset({"DIR"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One option, or the positional arguments (no ``flags``), as a shell sees it.

    ``metavar`` is empty for an option that takes no value; ``values`` are the words it
    may take, and ``files`` and ``folders`` say whether paths may stand there too.
    """

    flags: tuple[str, ...]
    metavar: str
    values: tuple[str, ...]
    text: str
    repeats: bool

    @property
    def files(self) -> bool:
        """Whether the value may be a file."""
        return self.metavar in _FILES

    @property
    def folders(self) -> bool:
        """Whether the value must be a folder."""
        return self.metavar in _FOLDERS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``completion``."""
    parser.add_argument("shell", choices=tuple(_WRITERS), metavar="SHELL",
                        help="bash, zsh or fish")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Write the script for the shell that was named."""
    from signward.cli.commands import COMMANDS, command_parsers

    parsers = {name: _whole(each) for name, each in command_parsers().items()}
    sys.stdout.write(_WRITERS[arguments.shell](parsers, COMMANDS))
    return 0


def _whole(parser: argparse.ArgumentParser) -> tuple[Argument, ...]:
    """Return a command's arguments, and the options of its actions, each once."""
    from signward.cli.actions import nested

    options = {
        argument.flags: argument
        for action in nested(parser).values()
        for argument in described(action)
        if argument.flags
    }
    own = tuple(described(parser))
    known = {argument.flags for argument in own}
    return (*own, *(one for flags, one in options.items() if flags not in known))


def described(parser: argparse.ArgumentParser) -> Iterator[Argument]:
    """Yield every argument of ``parser``, in the order of its help."""
    for action in parser._actions:  # noqa: SLF001  argparse tells it nowhere else
        takes = action.nargs != 0
        metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        yield Argument(
            flags=tuple(action.option_strings),
            metavar=metavar if takes else "",
            values=_values(action, metavar) if takes else (),
            text=(action.help or "").replace("%%", "%"),
            repeats=action.nargs == "+" or isinstance(action.default, list),
        )


def _values(action: argparse.Action, metavar: str) -> tuple[str, ...]:
    if action.choices:
        return tuple(filter(None, action.choices))
    if metavar == "STORE":
        from signward.verbs.stores import NAMED

        return tuple(NAMED)
    if metavar == "KIND":
        from signward.inventory.classify import KINDS

        return tuple(KINDS)
    return ()


Parsers = Mapping[str, tuple[Argument, ...]]
"""Every command's arguments."""


def bash(parsers: Parsers, lines: Mapping[str, str]) -> str:
    """Return the script for bash."""
    cases = "".join(_bash_value(name, a) for name, own in parsers.items() for a in own if a.flags)
    words = "".join(_bash_words(name, own) for name, own in parsers.items())
    return _BASH.format(commands=" ".join(lines), either="|".join(lines), values=cases, words=words)


_BASH = """\
# bash completion for signward
_signward_paths() {{ # _signward_paths -f|-d WORD: add the files or folders that fit
    local found
    while IFS= read -r found; do COMPREPLY+=("$found"); done < <(compgen "$1" -- "$2")
    compopt -o filenames 2>/dev/null
}}
_signward() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} command= i
    [[ $before == = ]] && before=${{COMP_WORDS[COMP_CWORD - 2]}}
    [[ $word == = ]] && word=
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in {either}) command=${{COMP_WORDS[i]}}; break ;; esac
    done
    COMPREPLY=()
    case "$command $before" in
{values}    esac
    case "$command" in
{words}    *) COMPREPLY=($(compgen -W '{commands} --help --version' -- "$word")) ;;
    esac
}}
complete -F _signward signward
"""


def _bash_value(name: str, argument: Argument) -> str:
    """Return the case that completes an option's value; nothing for a mere switch."""
    if not argument.metavar:
        return ""
    label = "|".join(f'"{name} {flag}"' for flag in argument.flags)
    return f"    {label}) {_bash_fill(argument)}return ;;\n"


def _bash_fill(argument: Argument) -> str:
    steps = ""
    if argument.values:
        steps += f"COMPREPLY=($(compgen -W '{' '.join(argument.values)}' -- \"$word\")); "
    if argument.files or argument.folders:
        steps += f'_signward_paths {"-f" if argument.files else "-d"} "$word"; '
    return steps


def _bash_words(name: str, arguments: Iterable[Argument]) -> str:
    """Return the case that completes a command's options and positional arguments."""
    flags = " ".join(flag for a in arguments for flag in a.flags)
    positional = next((_bash_fill(a) for a in arguments if not a.flags), "")
    options = f"COMPREPLY=($(compgen -W '{flags}' -- \"$word\"))"
    return f"    {name}) if [[ $word == -* ]]; then {options}; else {positional or ':; '}fi ;;\n"


def zsh(parsers: Parsers, lines: Mapping[str, str]) -> str:
    """Return the script for zsh."""
    commands = " ".join(_quoted(f"{name}:{_escaped(line)}") for name, line in lines.items())
    cases = "".join(
        f"    {name}) _arguments \\\n"
        + "".join(f"      {spec} \\\n" for a in own for spec in _zsh_specs(a))
        + "      ;;\n"
        for name, own in parsers.items()
    )
    return _ZSH.format(commands=commands, cases=cases)


_ZSH = """\
#compdef signward
_signward() {{
  local curcontext="$curcontext" state line
  local -a commands=({commands})
  _arguments -C '(- *)'{{-h,--help}}'[show help]' '(- *)--version[show the version]' \\
    '1:command:->command' '*::argument:->argument'
  case $state in
  command) _describe -t commands command commands ;;
  argument)
    case $words[1] in
{cases}    esac
    ;;
  esac
}}
if [[ $funcstack[1] == _signward ]]; then _signward "$@"; else compdef _signward signward; fi
"""


def _zsh_specs(argument: Argument) -> Iterator[str]:
    value = f":{argument.metavar}:{_zsh_fill(argument)}" if argument.metavar else ""
    if not argument.flags:
        yield _quoted(f"*{value}" if argument.repeats else value)
    for flag in argument.flags:
        star = "*" if argument.repeats else ""
        yield _quoted(f"{star}{flag}[{_escaped(argument.text)}]{value}")


def _zsh_fill(argument: Argument) -> str:
    if argument.files and argument.values:
        words = " ".join(argument.values)
        return f"_alternative 'values:value:({words})' 'files:file:_files'"
    if argument.values:
        return f"({' '.join(argument.values)})"
    if argument.folders:
        return "_files -/"
    return "_files" if argument.files else " "


def _escaped(text: str) -> str:
    """Return ``text`` without what ends a description in zsh's specifications."""
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def fish(parsers: Parsers, lines: Mapping[str, str]) -> str:
    """Return the script for fish."""
    head = "# fish completion for signward\ncomplete -c signward -f\n"
    first = "complete -c signward -n __fish_use_subcommand"
    head += f"{first} -l version -d 'show the version'\n{first} -s h -l help -d 'show help'\n"
    head += "".join(f"{first} -a {name} -d {_quoted(line)}\n" for name, line in lines.items())
    rest = (_fish_line(name, a) for name, own in parsers.items() for a in own)
    return head + "".join(rest)


def _fish_line(name: str, argument: Argument) -> str:
    parts = [f"complete -c signward -n '__fish_seen_subcommand_from {name}'"]
    parts += [f"-l {f[2:]}" if f.startswith("--") else f"-s {f[1:]}" for f in argument.flags]
    if argument.flags and argument.metavar:
        parts.append("-r" if argument.files else "-x")
    if argument.files:
        parts.append("-F")
    if argument.folders:
        parts.append("-a '(__fish_complete_directories)'")
    if argument.values:
        parts.append(f"-a {_quoted(' '.join(argument.values))}")
    if argument.flags:
        parts.append(f"-d {_quoted(argument.text)}")
    return " ".join(parts) + "\n"


def _quoted(text: str) -> str:
    """Return ``text`` as one word of any of the three shells."""
    return "'" + text.replace("'", "'\\''") + "'"


_WRITERS = {"bash": bash, "zsh": zsh, "fish": fish}
