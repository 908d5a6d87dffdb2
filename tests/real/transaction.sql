-- One long transaction: many more changed pages than fit into the cache, so that it writes to the rollback journal and into the
-- database file all along.
PRAGMA journal_mode = DELETE;
PRAGMA cache_size = 200;
CREATE TABLE account (id INTEGER PRIMARY KEY, name TEXT, balance REAL);
CREATE INDEX account_by_name ON account (name);
WITH RECURSIVE counter(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counter WHERE i < 100000)
  INSERT INTO account SELECT i, printf('name %08d', (i * 7919) % 100003), i / 7.0 FROM counter;
BEGIN;
WITH RECURSIVE counter(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counter WHERE i < 150000)
  INSERT INTO account SELECT 100000 + i, printf('later %08d', (i * 104729) % 150001), i * 1.5 FROM counter;
UPDATE account SET balance = balance * 1.01 + id, name = name || '.' WHERE id % 2 = 1;
DELETE FROM account WHERE id % 5 = 0;
SELECT count(*), sum(balance) FROM account;
COMMIT;
SELECT count(*), printf('%.6f', sum(balance)), max(name) FROM account;
PRAGMA integrity_check;
