# SPDX-License-Identifier: Apache-2.0
# bash completion for vtpmctl. Install as /usr/share/bash-completion/completions/vtpmctl.
#
# Verbs, options and devices come from vtpmctl itself (vtpmctl __complete), so that they cannot
# grow old. Device names that are printed there hold nothing that a shell would expand.

_vtpmctl_words() {
  "${COMP_WORDS[0]}" "${@}" 2>/dev/null | cut -f1
}

# DEVICE@SNAPSHOT: bash takes a line apart at each @. Puts the last words together again in cur, and
# gives prev what is before them; what is offered loses what stands there already.
_vtpmctl_join_snapshot() {
  local at=$COMP_CWORD
  [[ ${COMP_WORDS[at]} == @ ]] || [[ ${COMP_WORDS[at - 1]} == @ ]] || return
  [[ ${COMP_WORDS[at]} == @ ]] || ((--at))
  before=${COMP_WORDS[at - 1]}@
  cur=$before${COMP_WORDS[COMP_CWORD]#@}
  prev=${COMP_WORDS[at - 2]}
}

_vtpmctl() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
  local verb="" global=() word i before=""
  COMPREPLY=()
  ((COMP_CWORD > 2)) && _vtpmctl_join_snapshot

  for ((i = 1; i < COMP_CWORD; ++i)); do
    word=${COMP_WORDS[i]}
    case $word in
      --socket) global=(--socket "${COMP_WORDS[i + 1]}"); ((++i)) ;;
      -o | --output) ((++i)) ;;
      -*) ;;
      *)
        verb=$word
        break
        ;;
    esac
  done

  case $prev in
    -o | --output) mapfile -t COMPREPLY < <(compgen -W "table json" -- "$cur"); return ;;
    --mode) mapfile -t COMPREPLY < <(compgen -W "read-only read-write" -- "$cur"); return ;;
    --for) mapfile -t COMPREPLY < <(compgen -W "container vm open" -- "$cur"); return ;;
    --node) mapfile -t COMPREPLY < <(compgen -W "kernel socket" -- "$cur"); return ;;
    --compat) mapfile -t COMPREPLY < <(compgen -W "linux-hmac" -- "$cur"); return ;;
    --socket | --socket-path | --measure | --root | --same-family | --crl | --csr | --folder | --proof | --to)
      mapfile -t COMPREPLY < <(compgen -f -- "$cur")
      compopt -o filenames 2>/dev/null
      return
      ;;
    --park-after) mapfile -t COMPREPLY < <(compgen -W "never default 1m 10m 1h" -- "$cur"); return ;;
    --cert-profile) mapfile -t COMPREPLY < <(compgen -W "standard ecc full default" -- "$cur"); return ;;
    --from)
      mapfile -t COMPREPLY < <(compgen -W "$(_vtpmctl_words "${global[@]}" __complete devices)" -- "$cur")
      return
      ;;
    --owner | --command-timeout | --detach-timeout | --limit | --locality | --measure-text | --pid | --as) return ;;
  esac

  local words=""
  if [[ $cur == -* ]]; then
    if [[ -n $verb ]]; then
      words=$(_vtpmctl_words __complete options "$verb")
    else
      words=$(_vtpmctl_words __complete options)
    fi
  elif [[ -z $verb ]]; then
    words=$(_vtpmctl_words __complete verbs)
  else
    case $verb in
      show | set | start | stop | attach | detach | delete | power-cycle | park | rebase | generalize | release | watch | denied | lineage)
        words=$(_vtpmctl_words "${global[@]}" __complete devices)
        ;;
      cert)
        case $prev in
          cert) words="show export" ;;
          show | export) words=$(_vtpmctl_words "${global[@]}" __complete devices) ;;
          *)
            mapfile -t COMPREPLY < <(compgen -d -- "$cur")
            return
            ;;
        esac
        ;;
      event-log | explain | verify)
        if [[ $prev == event-log ]]; then
          words=$(_vtpmctl_words "${global[@]}" __complete devices)
        else
          mapfile -t COMPREPLY < <(compgen -f -- "$cur")
          compopt -o filenames 2>/dev/null
          return
        fi
        ;;
      set-mode)
        if [[ $prev == set-mode ]]; then
          words=$(_vtpmctl_words "${global[@]}" __complete devices)
        else
          words=read-write
        fi
        ;;
      clone)
        [[ $prev == clone ]] && words=$(_vtpmctl_words "${global[@]}" __complete devices &&
          _vtpmctl_words "${global[@]}" __complete snapshots)
        ;;
      rollback) words=$(_vtpmctl_words "${global[@]}" __complete snapshots) ;;
      snapshot)
        case $prev in
          snapshot) words="create list show delete" ;;
          list) words=$(_vtpmctl_words "${global[@]}" __complete devices) ;;
          create)
            words=$(_vtpmctl_words "${global[@]}" __complete devices | sed 's/$/@/')
            compopt -o nospace 2>/dev/null
            ;;
          *) words=$(_vtpmctl_words "${global[@]}" __complete snapshots) ;;
        esac
        ;;
      template)
        case $prev in
          template) words="create list show delete" ;;
          show | delete) words=$(_vtpmctl_words "${global[@]}" __complete devices) ;;
        esac
        ;;
      host-key) words="rotate recipient" ;;
      export) [[ $prev == export ]] && words=$(_vtpmctl_words "${global[@]}" __complete devices) ;;
      ca)
        if [[ $prev == @(export|import|crl) ]]; then
          mapfile -t COMPREPLY < <(compgen -f -- "$cur")
          compopt -o filenames 2>/dev/null
          return
        fi
        words="show export init import crl"
        ;;
      help) words=$(_vtpmctl_words __complete verbs) ;;
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  COMPREPLY=("${COMPREPLY[@]#"$before"}")
}

complete -F _vtpmctl vtpmctl
