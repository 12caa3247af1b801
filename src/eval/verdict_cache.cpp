#include "mose/eval/verdict_cache.h"

#include <sqlite3.h>

#include <chrono>
#include <thread>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace fs = std::filesystem;
namespace {

constexpr int kApplication = 0x6d6f7365;  // "mose", in the file's header
constexpr int kVersion = 1;
constexpr std::chrono::milliseconds kMostBusy{60000}, kBetweenTries{5};

constexpr const char* kSchema =
    "CREATE TABLE IF NOT EXISTS verdicts ("
    "key TEXT PRIMARY KEY, model TEXT NOT NULL, protocol TEXT NOT NULL, task TEXT NOT NULL, "
    "item TEXT NOT NULL, repeat INTEGER NOT NULL, score REAL, reply TEXT NOT NULL, "
    "prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, "
    "stored_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) WITHOUT ROWID";

}  // namespace

std::string verdict_key(const std::string& model, const std::string& protocol_hash,
                        const JudgeRequest& request) {
  const Question& q = request.question;
  Sha256 hash;
  // With its length before each field, no two sets of fields run together.
  for (const std::string& field : {model, protocol_hash, q.task, q.id, q.region, q.reference,
                                   request.prediction, std::to_string(request.repeat)}) {
    hash.update(str(field.size(), ":"));
    hash.update(field);
  }
  return hash.hex();
}

struct VerdictCache::Impl {
  fs::path file;
  sqlite3* db = nullptr;
  sqlite3_stmt *select = nullptr, *insert = nullptr;

  ~Impl() {
    sqlite3_finalize(select);
    sqlite3_finalize(insert);
    sqlite3_close(db);
  }

  [[noreturn]] void fail(int code, const char* doing) const {
    const std::string message = str(file.string(), ": cannot ", doing, ": ",
                                    db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
    const int kind = code & 0xff;
    if (kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB) {
      throw DataError(message +
                      "; the verdict cache is damaged or no cache at all: move it away, and "
                      "what it held will be asked again");
    }
    throw Error(message);
  }
  void check(int code, const char* doing) const {
    if (code != SQLITE_OK && code != SQLITE_DONE && code != SQLITE_ROW) fail(code, doing);
  }
  void run(const std::string& sql, const char* doing) {
    check(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), doing);
  }
  // For what needs the file alone, where SQLite says "busy" at once instead of waiting as it does elsewhere.
  void run_alone(const char* sql) {
    const auto until = std::chrono::steady_clock::now() + kMostBusy;
    int code;
    while ((code = sqlite3_exec(db, sql, nullptr, nullptr, nullptr)) == SQLITE_BUSY && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(kBetweenTries);
    }
    check(code, "open");
  }
  sqlite3_stmt* prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    check(sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr), "read");
    return statement;
  }
  // The first column of the first row.
  std::string value(const char* sql) {
    sqlite3_stmt* statement = prepare(sql);
    const int code = sqlite3_step(statement);
    const auto* text = code == SQLITE_ROW ? sqlite3_column_text(statement, 0) : nullptr;
    const std::string out = text ? reinterpret_cast<const char*>(text) : "";
    sqlite3_finalize(statement);
    check(code, "read");
    return out;
  }

  void open() {
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    check(sqlite3_open_v2(file.c_str(), &db, flags, nullptr), "open");
    sqlite3_busy_timeout(db, static_cast<int>(kMostBusy.count()));
    if (value("PRAGMA quick_check(1)") != "ok") fail(SQLITE_CORRUPT, "read");
    // In one transaction: of two that find no cache one makes it, and the other finds it made.
    run("BEGIN IMMEDIATE", "open");
    if (value("SELECT COUNT(*) FROM sqlite_master") == "0") {
      run(str("PRAGMA application_id = ", kApplication, "; PRAGMA user_version = ", kVersion, "; ", kSchema), "write");
    } else if (value("PRAGMA application_id") != std::to_string(kApplication) ||
               value("PRAGMA user_version") != std::to_string(kVersion)) {
      throw DataError(str(file.string(), ": expected a verdict cache of version ", kVersion,
                          ", found another SQLite database"));
    }
    run("COMMIT", "write");
    // A commit then costs no flush to the disk and still survives the end of the process; a loss of
    // power may take the last verdicts, never the file.
    run_alone("PRAGMA journal_mode = WAL");
    run("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 8000", "open");
    select = prepare(
        "SELECT score, reply, prompt_tokens, completion_tokens FROM verdicts WHERE key = ?1");
    insert = prepare(
        "INSERT INTO verdicts (key, model, protocol, task, item, repeat, score, reply, "
        "prompt_tokens, completion_tokens) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) "
        "ON CONFLICT (key) DO UPDATE SET score = excluded.score, reply = excluded.reply, "
        "prompt_tokens = prompt_tokens + excluded.prompt_tokens, "
        "completion_tokens = completion_tokens + excluded.completion_tokens "
        "WHERE verdicts.score IS NULL");
  }
};

namespace {

void bind(sqlite3_stmt* statement, int index, const std::string& text) {
  sqlite3_bind_text(statement, index, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
}

std::string text_of(sqlite3_stmt* statement, int column) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
  return text ? std::string(text, static_cast<size_t>(sqlite3_column_bytes(statement, column)))
              : "";
}

}  // namespace

VerdictCache::VerdictCache(const fs::path& file) : impl_(std::make_unique<Impl>()) {
  impl_->file = file;
  if (file.has_parent_path()) make_directories(file.parent_path());
  impl_->open();
}

VerdictCache::~VerdictCache() = default;

std::optional<StoredVerdict> VerdictCache::find(const std::string& key) const {
  sqlite3_stmt* s = impl_->select;
  bind(s, 1, key);
  const int code = sqlite3_step(s);
  std::optional<StoredVerdict> out;
  if (code == SQLITE_ROW) {
    out.emplace();
    if (sqlite3_column_type(s, 0) != SQLITE_NULL) out->score = sqlite3_column_double(s, 0);
    out->reply = text_of(s, 1);
    out->prompt_tokens = sqlite3_column_int64(s, 2);
    out->completion_tokens = sqlite3_column_int64(s, 3);
  }
  sqlite3_reset(s);
  impl_->check(code, "read");
  return out;
}

void VerdictCache::store(const std::string& key, const std::string& model,
                         const std::string& protocol_hash, const JudgeRequest& request,
                         const StoredVerdict& verdict) {
  sqlite3_stmt* s = impl_->insert;
  const std::string item = item_name(request.question);
  bind(s, 1, key);
  bind(s, 2, model);
  bind(s, 3, protocol_hash);
  bind(s, 4, request.question.task);
  bind(s, 5, item);
  sqlite3_bind_int64(s, 6, request.repeat);
  if (verdict.score) {
    sqlite3_bind_double(s, 7, *verdict.score);
  } else {
    sqlite3_bind_null(s, 7);
  }
  bind(s, 8, verdict.reply);
  sqlite3_bind_int64(s, 9, verdict.prompt_tokens);
  sqlite3_bind_int64(s, 10, verdict.completion_tokens);
  const int code = sqlite3_step(s);
  sqlite3_reset(s);
  sqlite3_clear_bindings(s);
  impl_->check(code, "store a verdict");
}

int64_t VerdictCache::size() const {
  return std::stoll(impl_->value("SELECT COUNT(*) FROM verdicts"));
}

std::optional<double> VerdictCache::mean_completion_tokens(const std::string& model) const {
  sqlite3_stmt* s = impl_->prepare(
      "SELECT AVG(completion_tokens) FROM verdicts WHERE model = ?1 AND completion_tokens > 0");
  bind(s, 1, model);
  const int code = sqlite3_step(s);
  std::optional<double> out;
  if (code == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL) {
    out = sqlite3_column_double(s, 0);
  }
  sqlite3_finalize(s);
  impl_->check(code, "read");
  return out;
}

}  // namespace mose::eval
