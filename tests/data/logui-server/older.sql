-- The same of an earlier LogUI server: its sessions had other columns.

CREATE TABLE "auth_user" (
    "id" serial NOT NULL PRIMARY KEY,
    "password" varchar(128) NOT NULL,
    "last_login" timestamp with time zone NULL,
    "is_superuser" boolean NOT NULL,
    "username" varchar(150) NOT NULL UNIQUE,
    "first_name" varchar(150) NOT NULL,
    "last_name" varchar(150) NOT NULL,
    "email" varchar(254) NOT NULL,
    "is_staff" boolean NOT NULL,
    "is_active" boolean NOT NULL,
    "date_joined" timestamp with time zone NOT NULL
);
CREATE TABLE "control_application" (
    "id" uuid NOT NULL PRIMARY KEY,
    "name" varchar(256) NOT NULL UNIQUE,
    "is_active" boolean NOT NULL,
    "creation_timestamp" timestamp with time zone NOT NULL,
    "created_by_id" integer NOT NULL
);
CREATE TABLE "control_flight" (
    "id" uuid NOT NULL PRIMARY KEY,
    "name" varchar(256) NOT NULL UNIQUE,
    "is_active" boolean NOT NULL,
    "fqdn" varchar(1024) NOT NULL,
    "creation_timestamp" timestamp with time zone NOT NULL,
    "application_id" uuid NOT NULL,
    "created_by_id" integer NOT NULL
);
CREATE TABLE "control_session" (
    "id" uuid NOT NULL PRIMARY KEY,
    "is_active" boolean NOT NULL,
    "ip_address" inet NOT NULL,
    "user_agent" text NOT NULL,
    "browser" text NOT NULL,
    "os" text NOT NULL,
    "device" text NOT NULL,
    "start_timestamp" timestamp with time zone NOT NULL,
    "end_timestamp" timestamp with time zone NULL,
    "flight_id" uuid NOT NULL
);
CREATE INDEX "auth_user_username_6821ab7c_like" ON "auth_user" ("username" varchar_pattern_ops);
ALTER TABLE "control_application" ADD CONSTRAINT "control_application_created_by_id_aba10ac0_fk_auth_user_id" FOREIGN KEY ("created_by_id") REFERENCES "auth_user" ("id") DEFERRABLE INITIALLY DEFERRED;
CREATE INDEX "control_application_name_7877abe6_like" ON "control_application" ("name" varchar_pattern_ops);
CREATE INDEX "control_application_created_by_id_aba10ac0" ON "control_application" ("created_by_id");
ALTER TABLE "control_flight" ADD CONSTRAINT "control_flight_application_id_bb32b672_fk_control_a" FOREIGN KEY ("application_id") REFERENCES "control_application" ("id") DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "control_flight" ADD CONSTRAINT "control_flight_created_by_id_ba3c1edd_fk_auth_user_id" FOREIGN KEY ("created_by_id") REFERENCES "auth_user" ("id") DEFERRABLE INITIALLY DEFERRED;
CREATE INDEX "control_flight_name_f7b250de_like" ON "control_flight" ("name" varchar_pattern_ops);
CREATE INDEX "control_flight_application_id_bb32b672" ON "control_flight" ("application_id");
CREATE INDEX "control_flight_created_by_id_ba3c1edd" ON "control_flight" ("created_by_id");
ALTER TABLE "control_session" ADD CONSTRAINT "control_session_flight_id_f97757f2_fk_control_flight_id" FOREIGN KEY ("flight_id") REFERENCES "control_flight" ("id") DEFERRABLE INITIALLY DEFERRED;
CREATE INDEX "control_session_flight_id_f97757f2" ON "control_session" ("flight_id");
