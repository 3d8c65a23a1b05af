"""Makes ``twistd logui`` known; imports nothing of ours, so that a broken install still says why."""

from twisted.application.service import ServiceMaker

logui = ServiceMaker("LogUI", "logui_tx.tap", "An interaction-logging server.", "logui")
