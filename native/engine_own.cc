// Real directories below the root's own `.vreserve`: the spool, where the data of blobs are, and namespaces.
#include "ops.h"

namespace vreserve {

namespace {

constexpr const char* kOwn = ".vreserve";

// The directory `name`, held, or null with `error` set (-errno).
Inode* hold_directory(Inodes& inodes, Inode& parent, const char* name, int& error) noexcept {
  const SharedFd directory = inodes.directory(parent, error);
  error = -error;
  if (!directory) return nullptr;
  struct stat st {};
  Inode* const inode = inodes.look_up(parent, directory->get(), name, st, 0, error);
  error = -error;
  if (inode == nullptr || inode->is_directory()) return inode;
  inodes.drop(*inode);
  error = -ENOTDIR;
  return nullptr;
}

}  // namespace

int Engine::serve_own(const char* name, bool listed, Inode*& inode) noexcept {
  int error = 0;
  Inode* const own = own_ != nullptr ? own_ : hold_directory(inodes, inodes.root(), kOwn, error);
  if (own == nullptr) return error;
  Inode* const served = hold_directory(inodes, *own, name, error);
  if (served == nullptr) {
    if (own_ == nullptr) inodes.drop(*own);
    return error;
  }
  own_ = own;
  inode = served;
  virtuals.add_real({name, served->number, listed, [this](Request& request) { op_lookup(*this, request, *own_); }});
  return 0;
}

int Engine::serve_store() noexcept { return serve_own("blobs", false, store_); }

int Engine::serve_namespaces() noexcept { return serve_own("namespaces", false, namespaces_); }

bool Engine::is_in_namespace(Inode& inode) noexcept {
  return namespaces_ != nullptr && inode.parent != nullptr && inodes.is_below(*inode.parent, *namespaces_);
}

}  // namespace vreserve
