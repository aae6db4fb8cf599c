"""`fvlm completion SHELL`: how bash, zsh and fish are told what completes the word that is being typed.

click asks each parameter what it takes; these classes hand on names together with files, where click's own scripts give
either the one or the other. Where nothing is named, the shell completes files as it does for any command. Pressing Tab
prints nothing else, whatever is broken.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from shlex import shlex
from typing import Any, ClassVar

import click
from click.shell_completion import (
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.help import Command

VARIABLE = "_FVLM_COMPLETE"
"""What the scripts set: "bash_complete"."""

_OPEN = ("=", "/", ":", ".", ",")
"""What a name ends with that more is to be typed after."""


class _Quiet(ShellComplete):
    def complete(self) -> str:
        """A line (or three) for each completion; nothing where that fails: files are completed then."""
        try:
            with (
                open(os.devnull, "w", encoding="utf-8") as nowhere,
                redirect_stdout(nowhere),
                redirect_stderr(nowhere),
            ):
                args, incomplete = self.get_completion_args()
                items = self.get_completions(args, incomplete)
        except (Exception, SystemExit):  # a broken plugin, recipe or store: no matter of who presses Tab
            items = []
        return "\n".join(self.lines(items))

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[Any]]:
        """As click's; of `--option=VALUE`, completions of the whole word. Names that would not show are left out."""
        head = ""
        if incomplete.startswith("-") and "=" in incomplete:
            head = incomplete.partition("=")[0] + "="
        items = super().get_completions(args, incomplete)
        for item in items:
            item.value = head + item.value
        return [item for item in items if item.value.isprintable()]

    def lines(self, items: Iterable[CompletionItem[Any]]) -> list[str]:
        """What the script reads."""
        return [self.format_completion(item) for item in items]


_BASH = r"""
%(complete_func)s() {
    local IFS=$'\n' kind value word= files= open=
    local -a found
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            file) files=-f ;;
            dir) files=-d ;;
            word) word=$value ;;
            open) open=1 ;;
        esac
    done < <(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" COMP_LINE="${COMP_LINE-}" \
        COMP_POINT="${COMP_POINT-}" COMP_WORDBREAKS="${COMP_WORDBREAKS-}" \
        %(complete_var)s=bash_complete "$1" 2>/dev/null)

    if (( ${#COMPREPLY[@]} == 0 )); then
        [[ $files == -d ]] && compopt -o dirnames 2>/dev/null
        compopt -o bashdefault -o default 2>/dev/null
        return 0
    fi
    [[ -n $open ]] && compopt -o nospace 2>/dev/null
    if [[ -n $files ]]; then
        mapfile -t found < <(compgen "$files" -- "$word")
        (( ${#found[@]} )) && compopt -o filenames +o nospace 2>/dev/null
        COMPREPLY+=("${found[@]}")
    fi
    # Readline quotes what it takes for the names of files.
    [[ ${COMPREPLY[*]} == *[^[:alnum:]$'\n'_@%%+=:,./-]* ]] && compopt -o filenames 2>/dev/null
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


@add_completion_class
class Bash(_Quiet):
    """Bash of 4.4 and later. It replaces only what follows the last of COMP_WORDBREAKS (`=` and `:` are among them)."""

    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the cursor's, and that one up to the cursor, quotes removed."""
        line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT") or 0)]
        if line:
            raw = _raw_words(line)
            breaks = "".join(mark for mark in "=:" if mark in os.environ.get("COMP_WORDBREAKS", "=:"))
            typed = raw[-1]
            kept = (
                max((typed.rfind(mark) for mark in breaks), default=-1) + 1 if typed[:1] not in "'\"" else 0
            )
        else:  # called by hand
            words = os.environ["COMP_WORDS"].split("\n" if "\n" in os.environ["COMP_WORDS"] else None)
            raw, kept = _rejoined(words[: int(os.environ["COMP_CWORD"]) + 1], int(os.environ["COMP_CWORD"]))
        self.kept = len(_unquoted(raw[-1][:kept]))
        self.word = _unquoted(raw[-1][kept:])
        return [_unquoted(word) for word in raw[1:-1]], _unquoted(raw[-1])

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """KIND,VALUE"""
        return f"{item.type},{item.value[self.kept :]}"

    def lines(self, items: Iterable[CompletionItem[Any]]) -> list[str]:
        """With the word that files are to begin with, and whether more may follow without a space."""
        items = list(items)
        plain = [item.value for item in items if item.type == "plain"]
        more = ["open,"] if plain and all(value.endswith(_OPEN) for value in plain) else []
        return [*super().lines(items), *([f"word,{self.word}"] if items else []), *more]


_ZSH = r"""
#compdef %(prog_name)s

%(complete_func)s() {
    local -a closed open
    local kind value help files none=1
    (( $+commands[%(prog_name)s] )) || return 1

    while IFS= read -r kind && IFS= read -r value && IFS= read -r help; do
        case $kind in
            plain) closed+=("$value${help:+:$help}") ;;
            open) open+=("$value${help:+:$help}") ;;
            file) files=(_files) ;;
            dir) files=dir ;;
        esac
    done < <(env COMP_WORDS="${(pj:\n:)words[1,CURRENT-1]}"$'\n'"$PREFIX" COMP_CWORD=$((CURRENT-1)) \
        %(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)

    (( $#closed )) && _describe -V -t names %(prog_name)s closed && none=0
    (( $#open )) && _describe -V -t names %(prog_name)s open -S '' && none=0
    if [[ -n $files || $none == 1 ]]; then
        [[ $PREFIX == *=* ]] && compset -P 1 '*='
        { [[ $files == dir ]] && _files -/ } || _files
        (( $? == 0 )) && none=0
    fi
    return $none
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    # autoload from fpath, call function directly
    %(complete_func)s "$@"
else
    # eval/source/. command, register function for later
    compdef %(complete_func)s %(prog_name)s
fi
"""


@add_completion_class
class Zsh(_Quiet, ZshComplete):
    """Zsh, which quotes names itself, and takes the first colon that is not escaped for the end of the name."""

    name: ClassVar[str] = "zsh"
    source_template: ClassVar[str] = _ZSH.lstrip()

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """KIND, VALUE and help, a line each; "open" is a name that no space follows."""
        kind = "open" if item.type == "plain" and item.value.endswith(_OPEN) else item.type
        value = item.value.replace("\\", "\\\\").replace(":", "\\:")
        return f"{kind}\n{value}\n{' '.join((item.help or '').split())}"


_FISH = r"""
# What is offered here, "names" or "files"; asked of %(prog_name)s once for both.
function %(complete_func)s
    set -l line (commandline -cp)
    if test "$line" != "$__%(prog_name)s_line"; or contains $argv[1] $__%(prog_name)s_told
        set -g __%(prog_name)s_line $line
        set -g __%(prog_name)s_told
        set -g __%(prog_name)s_offered (env COMP_WORDS=$line COMP_CWORD=(commandline -ct) \
            %(complete_var)s=fish_complete %(prog_name)s 2>/dev/null)
    end
    set -a __%(prog_name)s_told $argv[1]
    set -l names (string match -r -g -- '^plain,(.*)' $__%(prog_name)s_offered)
    if test $argv[1] = names
        test -n "$names"; and printf '%%s\n' $names
        return 0
    end
    test -z "$names"; or string match -q -r -- '^(file|dir),' $__%(prog_name)s_offered
end

complete --command %(prog_name)s --no-files --arguments "(%(complete_func)s names)"
complete --command %(prog_name)s --condition "%(complete_func)s files" --force-files
"""


@add_completion_class
class Fish(_Quiet, FishComplete):
    """Fish, which quotes names itself and adds no space after `=`, `/`, `:`, `.` and `,`."""

    name: ClassVar[str] = "fish"
    source_template: ClassVar[str] = _FISH.lstrip()

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """KIND,VALUE and help after a tab."""
        help_ = " ".join((item.help or "").split())
        return f"{item.type},{item.value}" + (f"\t{help_}" if help_ else "")


SHELLS: dict[str, type[ShellComplete]] = {shell.name: shell for shell in (Bash, Zsh, Fish)}


@click.command("completion", cls=Command)
@click.argument("shell", type=NearestChoice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes fvlm's commands in SHELL.

    \b
    bash: fvlm completion bash > ~/.local/share/bash-completion/completions/fvlm
    zsh:  fvlm completion zsh > ~/.zfunc/_fvlm     (with ~/.zfunc in fpath)
    fish: fvlm completion fish > ~/.config/fish/completions/fvlm.fish
    """
    click.echo(SHELLS[shell](ctx.find_root().command, {}, "fvlm", VARIABLE).source())


def _raw_words(line: str) -> list[str]:
    """The words of a command line as typed, from the command on; the last one is the cursor's, perhaps empty."""
    words = re.findall(r"""(?:[^\s"'\\]|\\.?|"(?:[^"\\]|\\.)*"?|'[^']*'?)+""", line)
    if not words or (re.search(r"(?<!\\)\s\Z", line) and not line.endswith(words[-1])):
        words.append("")
    while len(words) > 1 and re.match(r"\w+=", words[0]):  # variables set for the command
        del words[0]
    return words


def _rejoined(words: list[str], current: int) -> tuple[list[str], int]:
    """Words that bash broke at `=` and `:` made whole; and where the cursor's begins in the last of them."""
    words = [*words, *[""] * (current + 1 - len(words))]
    whole: list[str] = []
    kept = 0
    for at, word in enumerate(words):
        kept = 0
        if at > 1 and (word in ("=", ":") or words[at - 1] in ("=", ":")):
            kept = len(whole[-1]) + (len(word) if word in ("=", ":") else 0)
            whole[-1] += word
        else:
            whole.append(word)
    return whole, kept


def _unquoted(word: str) -> str:
    """As the shell reads a word, of which a quote may still be open."""
    lexer = shlex(word, posix=True)
    lexer.whitespace = lexer.commenters = ""
    lexer.whitespace_split = True
    try:
        return "".join(lexer)
    except ValueError:  # the end of a quote is missing
        return lexer.token
