"""Saytics server: durable server-side event tracking and exact product reports."""

__version__ = "0.1.0"
