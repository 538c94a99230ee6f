-- The database of the README's walk.
create table customers (
    id bigint generated always as identity primary key, email text not null, country char(2),
    updated_at timestamptz not null default now()
);
create table orders (
    id bigint generated always as identity primary key,
    customer_id bigint references customers, total numeric(12,2), status text,
    updated_at timestamptz not null default now()
);
create table events (id bigint generated always as identity primary key, kind text, at timestamptz);
create table plans (code text primary key, price numeric, features jsonb);
insert into customers (email, country)
    select 'c' || i || '@example.com', (array['DE', 'FR', 'IE', 'PT'])[1 + i % 4]
    from generate_series(1, 5000) i;
insert into orders (customer_id, total, status, updated_at)
    select 1 + i * 7 % 5000, (i * 37 % 25000)::numeric / 100, (array['paid', 'open'])[1 + i % 3 / 2],
        '2026-01-01Z'::timestamptz + i * interval '15 s'
    from generate_series(1, 120000) i;
insert into events (kind, at)
    select (array['view', 'click'])[1 + i % 2], '2026-01-01Z'::timestamptz + i * interval '7 s'
    from generate_series(1, 250000) i;
insert into plans values ('basic', 9.5, '{"seats": 1}'), ('team', 49, '{"seats": 20}');
analyze;
