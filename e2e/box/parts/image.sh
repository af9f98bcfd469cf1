# Builds images from scratch, in a store of the box's own. Sourced.

b() { buildah --root "$BOX/buildah" --runroot "$BOX/buildah/run" --storage-driver vfs "$@"; }

# image_make NAME FOLDER ARCHIVE CONFIG...: FOLDER becomes the image's only layer; CONFIG are buildah config flags.
image_make() {
  local name=$1 folder=$2 archive=$3 container; shift 3
  mkdir -p "$(dirname "$archive")"
  container=$(b from scratch)
  b copy -q "$container" "$folder" / >/dev/null
  b config "$@" "$container"
  b commit -q --rm "$container" "$name" >/dev/null
  rm -f "$archive.new"
  b push -q "$name" "docker-archive:$archive.new:$name"
  mv "$archive.new" "$archive"
  # Nothing is kept: a killed build's leftovers go with the next one's.
  b rm --all >/dev/null; b rmi --all --force >/dev/null
}
