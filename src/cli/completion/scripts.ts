/**
 * What a shell sources to complete ply's words. The script asks `ply __complete WORDS`, the words
 * up to the cursor; the answer is a line for each candidate, `VALUE` or `VALUE<tab>DESCRIPTION`,
 * and a last line that says what else fits: `:words` nothing, `:files`, `:directories`.
 */

const bash = String.raw`# bash completion of ply: source it, or put it into /usr/share/bash-completion/completions/ply
_ply() {
  local line=${'$'}{COMP_LINE:0:COMP_POINT} words=() rest word i
  # bash cuts words at : and =, which belong to image names and options: what no blank parts is joined again.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    rest=${'$'}{line#"${'$'}{line%%[![:blank:]]*}"}
    word=${'$'}{COMP_WORDS[i]}
    ((i < COMP_CWORD)) || word=$rest
    if ((i > 0)) && [[ -n $rest && $rest == "$line" ]]; then words[-1]+=$word; else words+=("$word"); fi
    line=${'$'}{rest#"$word"}
  done
  local current=${'$'}{words[-1]} candidates=() more
  mapfile -t candidates < <("${'$'}{words[0]}" __complete "${'$'}{words[@]:1}" 2>/dev/null)
  ((${'$'}{#candidates[@]})) || return
  more=${'$'}{candidates[-1]}
  unset 'candidates[-1]'
  COMPREPLY=("${'$'}{candidates[@]%%${'$'}'\t'*}")
  local value=$current
  [[ $current == -*=* ]] && value=${'$'}{current#*=}
  case $more in
    :files) compopt -o filenames; mapfile -t -O "${'$'}{#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$value") ;;
    :directories) compopt -o filenames; mapfile -t -O "${'$'}{#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$value") ;;
  esac
  # Only what follows the last : or = is replaced.
  local cut=${'$'}{current%"${'$'}{current##*[:=]}"}
  [[ -z $cut ]] || COMPREPLY=("${'$'}{COMPREPLY[@]#"$cut"}")
}
complete -F _ply ply
`;

const zsh = String.raw`#compdef ply
# zsh completion of ply: put it as _ply into a directory of $fpath, or source it after compinit
_ply() {
  local -a lines described plain
  local line more
  lines=("${'$'}{(@f)$("${'$'}{words[1]}" __complete "${'$'}{(@)words[2,CURRENT]}" 2>/dev/null)}")
  more=${'$'}{lines[-1]}
  for line in "${'$'}{(@)lines[1,-2]}"; do
    if [[ $line == *${'$'}'\t'* ]]; then
      described+=("${'$'}{${'$'}{line%%${'$'}'\t'*}//:/\\:}:${'$'}{line#*${'$'}'\t'}")
    else
      plain+=("$line")
    fi
  done
  if [[ ${'$'}{words[CURRENT]} == -*=* ]] && compset -P '*='; then
    plain=("${'$'}{(@)plain#*=}")
    described=("${'$'}{(@)described#*=}")
  fi
  (( $#described )) && _describe 'ply' described
  (( $#plain )) && compadd -- "${'$'}{(@)plain}"
  case $more in
    :files) _files ;;
    :directories) _files -/ ;;
  esac
}
if [[ ${'$'}{funcstack[1]} == _ply ]]; then _ply "$@"; else compdef _ply ply; fi
`;

const fish = String.raw`# fish completion of ply: put it as ply.fish into ~/.config/fish/completions
function __ply_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l answer ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
    test (count $answer) -gt 0; or return
    set -l option (string match -r '^-[^=]*=' -- $current)
    set -l value (string replace -r '^-[^=]*=' '' -- $current)
    test (count $answer) -gt 1; and printf '%s\n' $answer[1..-2]
    switch $answer[-1]
        case :files
            string replace -r '^' -- "$option" (__fish_complete_path $value)
        case :directories
            string replace -r '^' -- "$option" (__fish_complete_directories $value '')
    end
end
complete -c ply -f -a '(__ply_complete)'
`;

export const completionScripts = { bash, zsh, fish } as const;

export type Shell = keyof typeof completionScripts;
