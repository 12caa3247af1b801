// The entries of a zip archive that are stored as they are, zip64 included: what torch.save writes. The
// format: APPNOTE.TXT of PKWARE, 4.3.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace mose::io {

// Views of `archive`, the bytes of the file `where`, by name. DataError names the file and the entry: an
// archive that is cut off, a compressed or encrypted entry, one outside the file, a name that comes twice.
std::map<std::string_view, std::string_view> zip_entries(std::string_view archive, const std::string& where);

}  // namespace mose::io
