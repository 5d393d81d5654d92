.mode list
CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT NOT NULL, born REAL);
CREATE INDEX by_name ON person(name);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO person SELECT i, 'name ' || (i * 7919 % 20000), 1900 + i / 200.0 FROM n;
COMMIT;
SELECT count(*), min(name), max(born), round(avg(born), 3) FROM person;
SELECT name FROM person WHERE name LIKE 'name 1999_' ORDER BY id LIMIT 3;
EXPLAIN QUERY PLAN SELECT * FROM person WHERE name = 'name 5';
BEGIN; DELETE FROM person; ROLLBACK;
SELECT count(*) FROM person;
CREATE TABLE j AS SELECT json_object('a', 1, 'b', json_array(1, 2)) AS v;
SELECT json_extract(v, '$.b[1]') FROM j;
SELECT date(0, 'unixepoch'), strftime('%s', '2024-02-29'), printf('%.3f|%05d', 3.14159, 42);
PRAGMA journal_mode;
PRAGMA integrity_check;
SELECT no_such_column FROM person;
UPDATE person SET born = born + 1 WHERE id % 2 = 0;
SELECT total(born) FROM person;
SELECT name, row_number() OVER (ORDER BY born DESC) FROM person ORDER BY born DESC LIMIT 2;
VACUUM;
ATTACH 'second.db' AS second;
CREATE TABLE second.copy AS SELECT * FROM person WHERE id <= 10;
SELECT sum(id) FROM second.copy;
PRAGMA locking_mode=exclusive;
PRAGMA journal_mode=wal;
INSERT INTO person VALUES(NULL, 'new', 1);
.tables
PRAGMA journal_mode=delete;
